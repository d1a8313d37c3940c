"""Means with 95 % intervals, of values that come in groups: completions of one question are not independent."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy

DRAWS, BATCH = 10_000, 250  # how many draws, and how many are worked out at a time


@dataclass(frozen=True, slots=True)
class Interval:
    """Hold a mean, the ends of its 95 % interval (None: one group alone has none), and of how many values it is."""

    mean: float
    low: float | None
    high: float | None
    count: int

    def __str__(self) -> str:
        """Write mean [low, high]."""
        ends = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.mean:.3f}{ends}"


def mean_of(values: Sequence[float], groups: Sequence[Hashable], seed: int = 0) -> Interval | None:
    """Return the mean of values, with the percentile bootstrap over groups; None where there are no values [ours]."""
    if not values:
        return None
    sums = _totals([(values, groups)])
    return Interval(*_resampled(sums, _ratio, seed), len(values))


def difference_of(
    left: Sequence[float],
    left_groups: Sequence[Hashable],
    right: Sequence[float],
    right_groups: Sequence[Hashable],
    seed: int = 0,
) -> Interval | None:
    """Return the mean of left less that of right, over draws of the groups of both; None where either is empty."""
    if not left or not right:
        return None
    sums = _totals([(left, left_groups), (right, right_groups)])
    return Interval(*_resampled(sums, _ratio_difference, seed), len(left) + len(right))


def _ratio(total: numpy.ndarray, count: numpy.ndarray, axis: int = -1) -> numpy.ndarray:
    return total.sum(axis=axis) / count.sum(axis=axis)


def _ratio_difference(
    left: numpy.ndarray, left_count: numpy.ndarray, right: numpy.ndarray, right_count: numpy.ndarray, axis: int = -1
) -> numpy.ndarray:
    with numpy.errstate(invalid="ignore"):  # a draw may hold no group of one side
        return _ratio(left, left_count, axis) - _ratio(right, right_count, axis)


def _totals(sides: Sequence[tuple[Sequence[float], Sequence[Hashable]]]) -> list[numpy.ndarray]:
    """Return for each side the sum and the number of values of every group, in one order of all groups."""
    sums: dict[Hashable, list[float]] = defaultdict(lambda: [0.0] * 2 * len(sides))
    for side, (values, groups) in enumerate(sides):
        for value, group in zip(values, groups, strict=True):
            sums[group][2 * side] += value
            sums[group][2 * side + 1] += 1
    return [numpy.array(column) for column in zip(*sums.values(), strict=True)]


def _resampled(
    columns: list[numpy.ndarray], statistic: Callable[..., numpy.ndarray], seed: int
) -> tuple[float, float | None, float | None]:
    """Return a statistic with its interval, over groups drawn with replacement; one group alone has no interval."""
    mean = float(statistic(*columns))
    if len(columns[0]) < 2:
        return mean, None, None
    random, num_groups = numpy.random.default_rng(seed), len(columns[0])
    draws = []
    for _ in range(DRAWS // BATCH):
        drawn = random.integers(num_groups, size=(BATCH, num_groups))
        draws.append(statistic(*(column[drawn] for column in columns)))
    low, high = numpy.nanpercentile(numpy.concatenate(draws), [2.5, 97.5])
    return mean, float(low), float(high)
