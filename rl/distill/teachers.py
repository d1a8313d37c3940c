"""Teachers that run here: transformers, and vLLM."""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from rl.endpoint import Answer, Failure, Request
from rl.tokens import decoding, opens_reasoning


class TransformersTeacher:
    """A model that answers the same question several times at once; the same seeds give the same answers.

    Requests of one question that follow each other are answered together, under the first one's seed.
    """

    together = True

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self.model, self.tokenizer, self.max_tokens = model.eval(), tokenizer, max_tokens
        self.opening = "<think>" if opens_reasoning(tokenizer) else ""

    def ask(self, requests: Mapping[str, Request], heard: Callable[[str, Answer | Failure], None]) -> None:
        """Answer all requests, question by question."""
        for group in _by_question(requests):
            for key, found in zip(group, self._answers(list(group.values())), strict=True):
                heard(key, found)

    @torch.inference_mode()
    def _answers(self, requests: list[Request]) -> list[Answer | Failure]:
        first, tokenizer = requests[0], self.tokenizer
        inputs: Any = tokenizer.apply_chat_template(
            list(first.messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        length = inputs["input_ids"].shape[1]
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        room = self.max_tokens if context is None else min(self.max_tokens, context - length)
        if room < 1:
            return [Failure(f"the prompt of {length} tokens leaves no room", refused=True)] * len(requests)
        config = decoding(self.model, tokenizer, first.temperature)
        config.max_new_tokens, config.num_return_sequences = room, len(requests)
        torch.manual_seed(first.seed or 0)
        rows = self.model.generate(**inputs.to(self.model.device), generation_config=config)[:, length:].tolist()
        return [self._answer(row, config.eos_token_id) for row in rows]

    def _answer(self, row: list[int], ends: list[int]) -> Answer:
        end = next((place for place, token in enumerate(row) if token in ends), len(row))
        text = str(self.tokenizer.decode(row[:end], skip_special_tokens=False))
        return Answer(self.opening + text, cut=end == len(row))


class VllmTeacher:
    """A model under vLLM, which answers all requests at once, each under its own seed."""

    together = False

    def __init__(self, name: str, revision: str | None, tensor_parallel: int, max_tokens: int) -> None:
        from vllm import LLM  # pyright: ignore

        self._model = LLM(model=name, revision=revision, tensor_parallel_size=tensor_parallel)
        self.max_tokens = max_tokens
        self.opening = "<think>" if opens_reasoning(self._model.get_tokenizer()) else ""

    def ask(self, requests: Mapping[str, Request], heard: Callable[[str, Answer | Failure], None]) -> None:
        """Answer all requests."""
        from vllm import SamplingParams  # pyright: ignore

        parameters = [
            SamplingParams(temperature=request.temperature, seed=request.seed, max_tokens=self.max_tokens)
            for request in requests.values()
        ]
        asked = [list(request.messages) for request in requests.values()]
        for key, reply in zip(requests, self._model.chat(asked, parameters, use_tqdm=False), strict=True):
            written = reply.outputs[0]
            heard(key, Answer(self.opening + written.text, cut=written.finish_reason == "length"))


def _by_question(requests: Mapping[str, Request]) -> Iterator[dict[str, Request]]:
    for _, group in groupby(requests.items(), key=lambda item: (list(item[1].messages), item[1].temperature)):
        yield dict(group)
