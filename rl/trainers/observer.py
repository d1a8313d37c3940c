"""What a trainer tells whoever watches it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from jaxtyping import Bool, Int
from torch import Tensor, nn

from rl.attention import Heads
from rl.rollouts import KeptRollout


class Observer(Protocol):
    """Watch a training stage. Called on the main process only; must not change anything."""

    def saw_heads(self, step: int, distances: Mapping[int, Sequence[float]], heads: Heads) -> None:
        """Take a head selection: mean distance per layer and head, and which heads were chosen."""

    def saw_rollouts(self, step: int, rollouts: Sequence[KeptRollout]) -> None:
        """Take some of the rollouts that a step trained on."""


class BatchWatcher(Protocol):
    """Watch the tokens of a stage's rollouts. Called on every process; must not change anything."""

    def saw_generation(
        self,
        step: int,
        model: nn.Module,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Int[Tensor, "B T"],
        response: Bool[Tensor, "B T"],
    ) -> None:
        """Take a batch of rollouts, before `step` trains on it."""

    def saw_micro_batch(
        self,
        step: int,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Int[Tensor, "B T"],
        response: Bool[Tensor, "B T"],
        credited: Bool[Tensor, "B T"] | None,
    ) -> None:
        """Take what a pass of `step` trains on, and which of its tokens credit picked out; None where none does."""


class Unwatched:
    """Observe nothing: what the other processes have, where the main one is watched."""

    def saw_heads(self, step: int, distances: Mapping[int, Sequence[float]], heads: Heads) -> None:
        """Pass."""

    def saw_rollouts(self, step: int, rollouts: Sequence[KeptRollout]) -> None:
        """Pass."""
