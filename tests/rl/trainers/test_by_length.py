"""Rows of a step by their lengths: every row once an epoch, little padding, an order that comes back with its epoch."""

import random
from collections.abc import Sequence

import pytest

from rl.trainers.by_length import ByLength

CHANCE = random.Random(0)
LENGTHS = [CHANCE.randrange(20, 400) for _ in range(1000)]
BATCH, MICRO = 32, 8


def cut(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def padding(order: Sequence[int]) -> float:
    """Return the share of padding of an order's micro-batches."""
    widths = [max(LENGTHS[row] for row in rows) * len(rows) for rows in cut(order, MICRO)]
    return 1 - sum(LENGTHS) / sum(widths)


def test_every_row_comes_once_and_less_is_padding() -> None:
    order = list(ByLength(LENGTHS, BATCH, 0))
    assert sorted(order) == list(range(len(LENGTHS)))
    assert padding(order) < 0.2 < 0.4 < padding(list(range(len(LENGTHS))))


def test_a_step_has_rows_of_all_lengths() -> None:
    """Where steps had rows of like lengths, their means would be as far apart as the lengths: 110 tokens."""
    means = [sum(LENGTHS[row] for row in step) / BATCH for step in cut(list(ByLength(LENGTHS, BATCH, 0)), BATCH)[:-1]]
    assert max(means) - min(means) < 110


def test_an_epoch_has_its_own_order_which_comes_back() -> None:
    one, again = ByLength(LENGTHS, BATCH, 0), ByLength(LENGTHS, BATCH, 0)
    first, same = list(one), list(one)
    one.set_epoch(1)
    again.set_epoch(1)
    assert first == same != list(one) == list(again)
    assert list(ByLength(LENGTHS, BATCH, 7)) != first


@pytest.mark.parametrize("count", [0, 1, BATCH, 3 * BATCH + 5])
def test_sizes_that_are_no_whole_steps(count: int) -> None:
    order = list(ByLength(LENGTHS[:count], BATCH, 0))
    assert sorted(order) == list(range(count)) and len(ByLength(LENGTHS[:count], BATCH, 0)) == count
