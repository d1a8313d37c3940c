"""What seeds tell of an arm: means with t intervals, differences paired by seed, tests corrected for their number.

Seeds are few, so that a bootstrap over them is too narrow and a permutation test cannot reject: 5 pairs have a least
two-sided p of 1/16. Student's t is used throughout [ours].
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from rl.intervals import DUST, ENDS, Interval

LEVEL, POWER = 0.05, 0.8
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Paired:
    """Hold the mean of differences with its 95 % interval, their standard deviation, and the two-sided p value of t.

    One pair alone has neither deviation nor p. Pairs that all differ by the same have no p, since t is not defined
    there; where they do not differ, it is 1.
    """

    difference: Interval
    deviation: float | None
    p: float | None


def t_interval(values: Sequence[float]) -> Interval | None:
    """Return the mean +- t(0.975, n - 1) s / sqrt(n); no ends where no value differs, none no mean."""
    if not values:
        return None
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return Interval(mean, None, None, count)
    deviation = _deviation(values, mean)
    if deviation == 0.0:
        return Interval(mean, None, None, count)
    half = float(stats.t.ppf(ENDS[1] / 100, count - 1)) * deviation / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


def paired(left: Sequence[float], right: Sequence[float]) -> Paired | None:
    """Return what left has over right, pair by pair; None where there is no pair. Student's paired t test."""
    differences = [one - other for one, other in zip(left, right, strict=True)]
    interval = t_interval(differences)
    if interval is None:
        return None
    if len(differences) < 2:
        return Paired(interval, None, None)
    deviation = _deviation(differences, interval.mean)
    if deviation == 0.0:
        return Paired(interval, deviation, 1.0 if abs(interval.mean) <= DUST else None)
    t = interval.mean / (deviation / math.sqrt(len(differences)))
    return Paired(interval, deviation, float(2 * stats.t.sf(abs(t), len(differences) - 1)))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number: (m - i + 1) p_(i), made monotone, at most 1 (Holm 1979)."""
    known = sorted((value, place) for place, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    least = 0.0
    for rank, (value, place) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * value))
        corrected[place] = least
    return corrected


def seeds_needed(deviation: float, difference: float, tests: int = 1) -> int | None:
    """Return how many pairs see a difference with a power of 0.8 at a level of 0.05 shared out over `tests`.

    None where it would take more than 10,000. The power is that of the paired t test in the direction of the
    difference, by the noncentral t. Raises ValueError for a deviation that is not above 0.
    """
    if not deviation > 0:
        raise ValueError(f"a deviation of {deviation} says nothing of how many seeds it takes")
    counts = range(2, MOST_SEEDS + 1)
    place = bisect_left(counts, POWER, key=lambda count: _power(count, difference / deviation, tests))
    return counts[place] if place < len(counts) else None


def _power(count: int, effect: float, tests: int) -> float:
    limit = stats.t.isf(LEVEL / tests / 2, count - 1)
    power = float(stats.nct.sf(limit, count - 1, abs(effect) * math.sqrt(count)))
    assert math.isfinite(power), (count, effect, tests)
    return power


def _deviation(values: Sequence[float], mean: float) -> float:
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return 0.0 if spread <= DUST * max(1.0, abs(mean)) else spread
