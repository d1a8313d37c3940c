"""Batches of like lengths: every row once an epoch, little padding, an order that comes back with its epoch."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from rl.trainers.by_length import SORTED_TOGETHER, ByLength

CHANCE = random.Random(0)
LENGTHS = [CHANCE.randrange(20, 400) for _ in range(1000)]
BATCH = 16


def batches(order: Sequence[int]) -> list[Sequence[int]]:
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


def padding(order: list[int]) -> float:
    """Return the share of padding of an order's batches."""
    widths = [max(LENGTHS[row] for row in batch) * len(batch) for batch in batches(order)]
    return 1 - sum(LENGTHS) / sum(widths)


def test_every_row_comes_once_and_little_is_padding() -> None:
    order = list(ByLength(LENGTHS, BATCH, 0))
    assert sorted(order) == list(range(len(LENGTHS)))
    assert padding(order) < 0.03 < 0.4 < padding(list(range(len(LENGTHS))))


def test_batches_are_not_sorted() -> None:
    firsts = [LENGTHS[batch[0]] for batch in batches(list(ByLength(LENGTHS, BATCH, 0)))]
    rising = sum(one < other for one, other in pairwise(firsts))
    assert 0.3 < rising / (len(firsts) - 1) < 0.7


def test_an_epoch_has_its_own_order_which_comes_back() -> None:
    one, again = ByLength(LENGTHS, BATCH, 0), ByLength(LENGTHS, BATCH, 0)
    first, same = list(one), list(one)
    one.set_epoch(1)
    again.set_epoch(1)
    assert first == same != list(one) == list(again)
    assert list(ByLength(LENGTHS, BATCH, 1)) != first


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH * SORTED_TOGETHER + 3])
def test_sizes_that_are_no_whole_batches(count: int) -> None:
    order = list(ByLength(LENGTHS[:count], BATCH, 0))
    assert sorted(order) == list(range(min(count, len(LENGTHS))))
    assert len(ByLength(LENGTHS[:count], BATCH, 0)) == len(order)
