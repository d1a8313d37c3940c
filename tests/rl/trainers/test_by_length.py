"""Rows of a step by their lengths: every row once an epoch, little padding, an order that comes back with its epoch."""

import random
from collections.abc import Sequence

import pytest

from rl.trainers.by_length import ByLength

CHANCE = random.Random(0)
LENGTHS = [CHANCE.randrange(20, 400) for _ in range(1000)]
BATCH, MICRO = 32, 8


def order(count: int = len(LENGTHS), seed: int = 0, epoch: int = 0) -> list[int]:
    return list(ByLength(LENGTHS[:count], BATCH, seed, lambda: epoch))


def cut(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def padding(rows: Sequence[int]) -> float:
    """Return the share of padding of an order's micro-batches."""
    widths = [max(LENGTHS[row] for row in micro) * len(micro) for micro in cut(rows, MICRO)]
    return 1 - sum(LENGTHS) / sum(widths)


def test_every_row_comes_once_and_less_is_padding() -> None:
    rows = order()
    assert sorted(rows) == list(range(len(LENGTHS)))
    assert padding(rows) < 0.2 < 0.4 < padding(list(range(len(LENGTHS))))


def test_a_step_has_rows_of_all_lengths() -> None:
    """Where steps had rows of like lengths, their means would be as far apart as the lengths: 110 tokens."""
    means = [sum(LENGTHS[row] for row in step) / BATCH for step in cut(order(), BATCH)[:-1]]
    assert max(means) - min(means) < 110


def test_an_epoch_has_its_own_order_which_comes_back() -> None:
    epochs = [0]
    one = ByLength(LENGTHS, BATCH, 0, lambda: epochs[-1])
    first, same = list(one), list(one)
    epochs.append(1)
    assert first == same != list(one) == order(epoch=1)
    assert order(seed=7) != first == order()


@pytest.mark.parametrize("count", [0, 1, BATCH, 3 * BATCH + 5])
def test_sizes_that_are_no_whole_steps(count: int) -> None:
    assert sorted(order(count)) == list(range(count)) and len(ByLength(LENGTHS[:count], BATCH, 0, int)) == count
