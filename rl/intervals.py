"""Means with 95 % intervals, of values that come in groups: completions of one question are not independent."""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy

DRAWS, BATCH = 10_000, 250  # how many draws, and how many are worked out at a time

ENDS = (2.5, 97.5)  # percentiles
DUST = 1e-12  # what rounding leaves of numbers that are the same


@dataclass(frozen=True, slots=True)
class Interval:
    """Hold a mean, the ends of its 95 % interval (None: one group alone has none), and of how many values it is."""

    mean: float
    low: float | None
    high: float | None
    count: int

    def __str__(self) -> str:
        """Write mean [low, high]."""
        return told(self)


def told(value: Interval | None, digits: int = 3, sign: str = "") -> str:
    """Write mean [low, high], with a `sign` of "+" also where they are above 0; - where there is none."""
    if value is None:
        return "-"
    form = f"{{:{sign}.{digits}f}}".format
    ends = "" if value.low is None or value.high is None else f" [{form(value.low)}, {form(value.high)}]"
    return f"{form(value.mean)}{ends}"


def unless_alike(value: Interval | None) -> Interval | None:
    """Return an interval without its ends where these are the same.

    That all groups which there are say the same makes nothing certain [ours].
    """
    if value is None or value.low is None or value.high is None or value.high - value.low > DUST:
        return value
    return replace(value, low=None, high=None)


def mean_of(values: Sequence[float], groups: Sequence[Hashable], seed: int = 0) -> Interval | None:
    """Return the mean of values, with the percentile bootstrap over groups; None where there are no values [ours]."""
    return means_of([[value] for value in values], groups, seed)[0] if values else None


def means_of(table: Sequence[Sequence[float]], groups: Sequence[Hashable], seed: int = 0) -> list[Interval]:
    """Return the mean of every column of a table, over the same draws of its rows' groups."""
    sums, counts = _totals(numpy.array(table, dtype=float), _numbers(groups))
    means = sums.sum(0) / counts.sum()
    if len(counts) < 2:
        return [Interval(float(mean), None, None, len(table)) for mean in means]
    draws = numpy.concatenate([(drawn @ sums) / (drawn @ counts)[:, None] for drawn in _drawn(len(counts), seed)])
    ends = numpy.percentile(draws, ENDS, axis=0).T
    return [
        Interval(float(mean), float(low), float(high), len(table))
        for mean, (low, high) in zip(means, ends, strict=True)
    ]


def rate_of(rates: Sequence[float], groups: Sequence[Hashable], seed: int = 0) -> Interval | None:
    """Return the mean of rates between 0 and 1 with the bootstrap over groups; None where there are no rates.

    Where all groups are alike a bootstrap has no width, and says that a share of one is certain: there the interval is
    Wilson's, of as many flags as there are groups [ours].
    """
    found = mean_of(rates, groups, seed)
    return share_of(rates, groups) if unless_alike(found) is not found else found


def share_of(flags: Sequence[bool] | Sequence[float], groups: Sequence[Hashable]) -> Interval | None:
    """Return the share that is true, with Wilson's interval; None where there are no flags.

    The number of independent flags that it takes is that which the spread between groups speaks for, and the number of
    groups where all flags are alike, since a bootstrap would then have no width [ours].
    """
    if not flags:
        return None
    sums, counts = _totals(numpy.array(flags, dtype=float)[:, None], _numbers(groups))
    share, num_groups = float(sums.sum() / counts.sum()), len(counts)
    if num_groups < 2:
        return Interval(share, None, None, len(flags))
    apart = sums[:, 0] - share * counts
    variance = float((apart**2).sum()) * num_groups / (num_groups - 1) / len(flags) ** 2
    size = min(len(flags), share * (1 - share) / variance) if variance > DUST**2 else num_groups
    z = NormalDist().inv_cdf(ENDS[1] / 100)
    middle = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z * math.sqrt(share * (1 - share) / size + z**2 / (4 * size**2)) / (1 + z**2 / size)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), len(flags))


def difference_of(
    left: Sequence[float],
    left_groups: Sequence[Hashable],
    right: Sequence[float],
    right_groups: Sequence[Hashable],
    seed: int = 0,
) -> Interval | None:
    """Return the mean of left less that of right, over draws of the groups of both; None where either is empty.

    A side of one group has no interval.
    """
    if not left or not right:
        return None
    numbers = _numbers([*left_groups, *right_groups])
    size = int(numbers.max()) + 1
    sides = []
    for values, own in ((left, numbers[: len(left)]), (right, numbers[len(left) :])):
        sums, counts = _totals(numpy.array(values, dtype=float)[:, None], own, size)
        sides.append((sums[:, 0], counts))
    mean = float(numpy.mean(left) - numpy.mean(right))
    if min(len(set(left_groups)), len(set(right_groups))) < 2:
        return Interval(mean, None, None, len(left) + len(right))
    draws = []
    with numpy.errstate(invalid="ignore"):  # a draw may hold no group of one side
        for drawn in _drawn(size, seed):
            ours, theirs = ((drawn @ sums) / (drawn @ counts) for sums, counts in sides)
            draws.append(ours - theirs)
    low, high = numpy.nanpercentile(numpy.concatenate(draws), ENDS)
    return Interval(mean, float(low), float(high), len(left) + len(right))


def _numbers(groups: Sequence[Hashable]) -> numpy.ndarray:
    known: dict[Hashable, int] = {}
    return numpy.array([known.setdefault(group, len(known)) for group in groups])


def _totals(table: numpy.ndarray, groups: numpy.ndarray, size: int = 0) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return for every group the sums of its rows, (groups, columns), and how many they are, (groups,)."""
    counts = numpy.bincount(groups, minlength=size).astype(float)
    sums = numpy.zeros((len(counts), table.shape[1]))
    numpy.add.at(sums, groups, table)
    return sums, counts


def _drawn(num_groups: int, seed: int) -> Iterator[numpy.ndarray]:
    """Yield how often each group is in each draw, (draws, groups), some draws at a time."""
    random = numpy.random.default_rng(seed)
    for _ in range(DRAWS // BATCH):
        drawn = random.integers(num_groups, size=(BATCH, num_groups)) + num_groups * numpy.arange(BATCH)[:, None]
        yield numpy.bincount(drawn.ravel(), minlength=BATCH * num_groups).reshape(BATCH, num_groups).astype(float)
