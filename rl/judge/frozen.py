"""A frozen copy of the policy as the judge: it goes on writing where the policy's reasoning ends.

The copy is one set of weights on the CPU, of what is trained alone: the adapters under LoRA, all of the policy without,
each rank's shards under ZeRO-3. To be used it changes places with the policy's weights, and back, exactly.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from rewards import Label
from rl.critic import is_of_critic
from rl.judge.audit import Audit, read_verdict

CLOSING = "</label>"
# From prompts as token ids, and a number of tokens, to what the model writes after each: greedily, up to CLOSING.
Generate = Callable[[list[list[int]], int, str], list[list[int]]]


class FrozenCopy:
    """Keep the trained weights as they were at a step."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.taken_at = 0
        self.weights: dict[str, Tensor] = {}

    def take(self, step: int) -> None:
        """Copy the weights as they are."""
        self.weights = {name: weight.detach().to("cpu", copy=True) for name, weight in self._live()}
        self.taken_at = step

    def restore(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Take up what a checkpoint kept. Raises ValueError where it is of another model."""
        if {name for name, _ in self._live()} != weights.keys():
            raise ValueError("the frozen copy in the checkpoint is of another model")
        self.weights, self.taken_at = dict(weights), step

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the model carry the copy's weights; its own come back at the end, to the bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, weight in self._live():
            before = weight.clone()
            weight.copy_(self.weights[name])
            self.weights[name].copy_(before)

    def _live(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the storage of every trained weight: under ZeRO-3 this rank's shard, gathered copies of it let go."""
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad and not is_of_critic(name):
                yield name, _shard(parameter)

    @property
    def is_sharded(self) -> bool:
        """Say whether every rank holds another part."""
        return any(hasattr(parameter, "ds_tensor") for parameter in self._model.parameters())


def _shard(parameter: Any) -> Tensor:
    if not hasattr(parameter, "ds_tensor"):
        return parameter.data
    from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

    if parameter.ds_status == ZeroParamStatus.AVAILABLE:  # small ones stay gathered: the whole would outlive its shards
        parameter.partition()
    return parameter.ds_tensor.data


class FrozenJudge:
    """Have the frozen copy write the audit that the policy would, from behind the reasoning on."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        opens_reasoning: bool,
        refresh_every: int,
        max_tokens: int,
        batch: int,
    ) -> None:
        self.tokenizer, self.opens_reasoning = tokenizer, opens_reasoning
        self.refresh_every, self.max_tokens, self.batch = refresh_every, max_tokens, batch
        self.copy: FrozenCopy | None = None
        self._generate: Generate | None = None

    def attach(self, model: nn.Module, generate: Generate) -> None:
        """Copy this policy from now on, and write with it."""
        self.copy, self._generate = FrozenCopy(model), generate

    def release(self) -> None:
        """Let the copy go."""
        self.copy = self._generate = None

    def refresh_if_due(self, step: int) -> None:
        """Put the policy in the copy's place in the first step, and every refresh_every steps after that."""
        assert self.copy is not None
        if not self.copy.weights or step - self.copy.taken_at >= self.refresh_every:
            self.copy.take(step)

    def verdicts(self, audits: Sequence[Audit]) -> list[Label | None]:
        """Return the copy's label for each completion; None where it wrote none that can be read."""
        assert self.copy is not None and self._generate is not None and self.copy.weights
        prompts = [self._prompt(audit) for audit in audits]
        texts: list[str] = []
        with self.copy.in_place():
            for start in range(0, len(prompts), self.batch):
                written = self._generate(prompts[start : start + self.batch], self.max_tokens, CLOSING)
                texts += [str(self.tokenizer.decode(ids, skip_special_tokens=False)) for ids in written]
        return [_read(text) for text in texts]

    def _prompt(self, audit: Audit) -> list[int]:
        """Return the prompt as token ids; nothing in the reasoning becomes a control token, whatever it spells."""
        messages = [{"role": role, "content": content} for role, content in audit.prompt]
        shown = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        opening = str(shown) + ("" if self.opens_reasoning else "<think>")
        return [
            *self._ids(opening, as_text=False),
            *self._ids(audit.reasoning, as_text=True),
            *self._ids("</think><monitor>", as_text=False),
        ]

    def _ids(self, text: str, as_text: bool) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=as_text)["input_ids"]  # pyright: ignore


def _read(written: str) -> Label | None:
    """Read the verdict in what the copy wrote: whatever follows its label is not looked at."""
    text, closing, _ = written.partition(CLOSING)
    return read_verdict(text + closing)
