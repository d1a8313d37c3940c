"""How sets of heads come and go over the checkpoints of a run (arXiv 2509.25758). Pure Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Heads = frozenset[tuple[int, int]]  # of (layer, head)


@dataclass(frozen=True)
class Change:
    """Hold the heads of a checkpoint's circuit in terms of the base's and of the checkpoint's before.

    `fresh` are those that the circuit before did not have.
    """

    heads: Heads
    newly_active: Heads
    retained: Heads
    fresh: Heads


def changes(base: Heads, circuits: Sequence[Heads]) -> list[Change]:
    """Return what each circuit is, in the order of training."""
    return [Change(now, now - base, now & base, now - then) for then, now in pairwise([base, *circuits])]


def first_seen(base: Heads, circuits: Sequence[Heads]) -> dict[tuple[int, int], int]:
    """Return by head the first circuit that has it: 0 the base's, n the n-th checkpoint's; none where none has it."""
    found: dict[tuple[int, int], int] = {}
    for place, heads in enumerate([base, *circuits]):
        for head in sorted(heads):
            found.setdefault(head, place)
    return found


def cohorts(base: Heads, circuits: Sequence[Heads]) -> dict[int, list[int]]:
    """Return by the circuit that heads emerged in how many of them each circuit has, from the base's on."""
    first, every = first_seen(base, circuits), [base, *circuits]
    return {
        place: [sum(first[head] == place for head in heads) for heads in every] for place in sorted(set(first.values()))
    }


def frequency(circuits: Sequence[Heads]) -> dict[tuple[int, int], float]:
    """Return by head the share of circuits that have it; none where none has it."""
    every = sorted({head for heads in circuits for head in heads})
    return {head: sum(head in heads for heads in circuits) / len(circuits) for head in every}
