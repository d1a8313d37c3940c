"""Stand where vLLM's offline engine would: the part of its interface that we use, over transformers, greedily."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass(frozen=True)
class SamplingParams:
    """Take vLLM's own names, and no others."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    seed: int
    max_tokens: int
    stop_token_ids: Sequence[int]
    stop: Sequence[str] | None
    include_stop_str_in_output: bool
    skip_special_tokens: bool


class LLM:
    """Answer prompts of token ids one by one."""

    seeds: list[int] = []  # noqa: RUF012 - what every request was seeded with

    def __init__(self, model: str, seed: int) -> None:
        self.model, self.tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)

    def generate(self, prompts: Sequence[dict], parameters: Sequence[SamplingParams], use_tqdm: bool) -> list[Any]:
        """Return what vLLM would: outputs with token ids, the one that ends them among these, and why they ended."""
        assert not use_tqdm
        return [self._one(prompt["prompt_token_ids"], one) for prompt, one in zip(prompts, parameters, strict=True)]

    def _one(self, prompt: list[int], how: SamplingParams) -> Any:
        assert how.temperature == 0
        LLM.seeds.append(how.seed)
        ids, reason = list(prompt), "length"
        for _ in range(how.max_tokens):
            with torch.inference_mode():
                ids.append(int(self.model(torch.tensor([ids])).logits[0, -1].argmax()))
            told = self.tokenizer.decode(ids[len(prompt) :])
            if ids[-1] in how.stop_token_ids or any(stop in told for stop in how.stop or ()):
                reason = "stop"
                break
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(ids[len(prompt) :]), finish_reason=reason)])
