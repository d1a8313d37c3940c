"""What a trainer tells whoever watches it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from rl.attention import Heads
from rl.rollouts import KeptRollout


class Observer(Protocol):
    """Watch a training stage. Called on the main process only; must not change anything."""

    def saw_heads(self, step: int, distances: Mapping[int, Sequence[float]], heads: Heads) -> None:
        """Take a head selection: mean distance per layer and head, and which heads were chosen."""

    def saw_rollouts(self, step: int, rollouts: Sequence[KeptRollout]) -> None:
        """Take some of the rollouts that a step trained on."""


class Unwatched:
    """Observe nothing: what the other processes have, where the main one is watched."""

    def saw_heads(self, step: int, distances: Mapping[int, Sequence[float]], heads: Heads) -> None:
        """Pass."""

    def saw_rollouts(self, step: int, rollouts: Sequence[KeptRollout]) -> None:
        """Pass."""
