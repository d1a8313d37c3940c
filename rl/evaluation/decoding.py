"""How answers are generated, and who writes them: transformers here, or vLLM."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

from rl.models import ModelError
from rl.policy import Policy, Written

Engine = Literal["transformers", "vllm"]


@dataclass(frozen=True, slots=True)
class Decoding:
    """Say how answers are generated: how many of each task, how long, how hot, in batches of how many, by what.

    All arms of an evaluation share one.
    """

    samples: int
    max_tokens: int
    temperature: float
    batch: int
    seed: int
    engine: Engine = "transformers"

    def seed_of(self, batch: int) -> int:
        """Return the seed of a batch: its answers are the same whichever were written before it."""
        return self.seed * 1_000_003 + batch


class Writer(Protocol):
    """Write what a policy says, batch by batch."""

    def begin(self, batch: int) -> None:
        """Take the seed of a batch."""
        ...

    def write(
        self, starts: Sequence[Sequence[int]], most: Sequence[int], temperature: float, *, reasoning: bool = False
    ) -> list[Written]:
        """Go on from each start with at most so many tokens; with `reasoning` a text ends behind its </think> too."""
        ...


def writer_of(policy: Policy, decoding: Decoding) -> Writer:
    """Return who writes for a policy. Raises ModelError where vLLM is asked for, and cannot be had."""
    return VllmWriter(policy, decoding) if decoding.engine == "vllm" else TransformersWriter(policy, decoding)


def check_engine(policy: Policy, decoding: Decoding) -> None:
    """Raise ModelError where vLLM should write for a policy, and cannot."""
    if decoding.engine == "vllm":
        _vllm()
        if (Path(policy.name) / "adapter_config.json").is_file():
            raise ModelError(f"{policy.name}: --vllm reads whole models alone; merge the adapter into its base first")


class TransformersWriter:
    """The policy itself, whose weights are loaded where they are not."""

    def __init__(self, policy: Policy, decoding: Decoding) -> None:
        self._decoding, self.write = decoding, policy.with_weights().write

    def begin(self, batch: int) -> None:
        """Seed torch."""
        torch.manual_seed(self._decoding.seed_of(batch))


class VllmWriter:
    """vLLM's offline engine, which reads the policy's folder itself; the policy may be without weights."""

    def __init__(self, policy: Policy, decoding: Decoding) -> None:
        check_engine(policy, decoding)
        LLM, _ = _vllm()  # noqa: N806
        self._policy, self._decoding, self._seed = policy, decoding, decoding.seed
        self._model = LLM(model=policy.name, seed=decoding.seed % 2**32)

    def begin(self, batch: int) -> None:
        """Keep the seed for what is asked next."""
        self._seed = self._decoding.seed_of(batch)

    def write(
        self, starts: Sequence[Sequence[int]], most: Sequence[int], temperature: float, *, reasoning: bool = False
    ) -> list[Written]:
        """Go on from each start, each under its own seed, from the whole distribution as rollouts are."""
        _, SamplingParams = _vllm()  # noqa: N806
        parameters = [
            SamplingParams(
                temperature=temperature,
                top_p=1.0,
                top_k=0,
                repetition_penalty=1.0,
                seed=(self._seed * 1009 + place) % 2**63,
                max_tokens=count,
                stop_token_ids=self._policy.ends,
                stop=["</think>"] if reasoning else None,
                include_stop_str_in_output=True,
                skip_special_tokens=False,
            )
            for place, count in enumerate(most)
        ]
        prompts = [{"prompt_token_ids": list(start)} for start in starts]
        found = [reply.outputs[0] for reply in self._model.generate(prompts, parameters, use_tqdm=False)]
        told = [self._policy.written(list(one.token_ids), reasoning) for one in found]
        return [Written(one.ids, reply.finish_reason == "length") for one, reply in zip(told, found, strict=True)]


def _vllm():
    try:
        from vllm import LLM, SamplingParams  # pyright: ignore
    except ImportError:
        raise ModelError(
            "--vllm: vLLM is not installed here; pip install 'rhythm-rl[vllm]' on a machine with a GPU, or leave it out"
        ) from None
    return LLM, SamplingParams
