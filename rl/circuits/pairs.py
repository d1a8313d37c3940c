"""Pairs of texts that differ in one thing and are as long: what a policy sees, and what it is held against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


class PairError(ValueError):
    """Say which pair cannot be used, and what would do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Hold two texts in tokens, and a name for messages."""

    name: str
    clean: tuple[int, ...]
    corrupt: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Hold pairs side by side, padded behind: what is there no token in front of it sees. `last` is each one's end."""

    clean: Int[Tensor, "B T"]
    corrupt: Int[Tensor, "B T"]
    last: Int[Tensor, "B"]


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Raise PairError where there are none, or two texts of a pair are not as long."""
    if not pairs:
        raise PairError("pairs: there are none; give at least one clean and one corrupt text")
    for pair in pairs:
        if len(pair.clean) != len(pair.corrupt) or not pair.clean:
            raise PairError(
                f"pair {pair.name}: its clean text has {len(pair.clean)} tokens and its corrupt one "
                f"{len(pair.corrupt)}; cut them to the same length, one at least"
            )


def batches(pairs: Sequence[Pair], size: int, device: torch.device) -> Iterator[Batch]:
    """Yield pairs in batches of at most `size`, as they come."""
    for start in range(0, len(pairs), size):
        part = pairs[start : start + size]
        longest = max(len(pair.clean) for pair in part)
        rows = [[[*text, *[0] * (longest - len(text))] for text in (pair.clean, pair.corrupt)] for pair in part]
        clean, corrupt = torch.tensor(rows, device=device).unbind(1)
        yield Batch(clean, corrupt, torch.tensor([len(pair.clean) - 1 for pair in part], device=device))
