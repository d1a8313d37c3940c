"""Golden numbers: every one is worked out by hand, or stands in a table."""

import math
from itertools import product

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rl.significance import holm, paired, seeds_needed, t_interval

VALUES = st.lists(st.floats(-1, 1), min_size=2, max_size=8)


def test_the_interval_of_a_mean() -> None:
    """1, 2, 3, 4: mean 2.5, s = sqrt(5/3), t(0.975, 3) = 3.182446 (table): 2.5 +- 3.182446 sqrt(5/3) / 2."""
    found = t_interval([1.0, 2.0, 3.0, 4.0])
    assert found is not None and (found.mean, found.count) == (2.5, 4)
    half = 3.182446 * math.sqrt(5 / 3) / 2
    assert found.low == pytest.approx(2.5 - half, abs=1e-5) and found.high == pytest.approx(2.5 + half, abs=1e-5)


def test_one_value_has_no_ends_and_none_no_mean() -> None:
    one = t_interval([0.7])
    assert one is not None and (one.mean, one.low, one.high) == (0.7, None, None)
    assert t_interval([]) is None and paired([], []) is None


def test_a_paired_difference() -> None:
    """Differences 0.1, 0.2, 0.3: mean 0.2, s = 0.1, t = 0.2 / (0.1 / sqrt 3) = 2 sqrt 3 with 2 degrees of freedom.

    Two-sided p of t with 2 degrees of freedom: 1 - t / sqrt(t^2 + 2) = 1 - sqrt(12 / 14).
    """
    found = paired([0.5, 0.7, 0.9], [0.4, 0.5, 0.6])
    assert found is not None and found.p is not None
    assert found.difference.mean == pytest.approx(0.2) and found.deviation == pytest.approx(0.1)
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-9)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert found.difference.low == pytest.approx(0.2 - half, abs=1e-6)


def test_what_one_pair_and_equal_pairs_tell() -> None:
    one = paired([0.5], [0.4])
    assert one is not None and (one.deviation, one.p) == (None, None)
    equal, shifted = paired([0.5, 0.7], [0.5, 0.7]), paired([0.5, 0.7], [0.4, 0.6])
    assert equal is not None and (equal.deviation, equal.p) == (0.0, 1.0)
    assert shifted is not None and (shifted.deviation, shifted.p) == (0.0, None)
    dust = paired([0.1 + 0.2] * 3, [0.3] * 3)
    assert dust is not None and dust.difference.mean != 0 and dust.p == 1.0
    with pytest.raises(ValueError, match="zip"):
        paired([0.5, 0.7], [0.5])


def test_holm_by_hand() -> None:
    """0.01, 0.02, 0.03, 0.04 of four: 4 x 0.01; 3 x 0.02; 2 x 0.03; 0.04 is raised to what stands before it."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, None, 0.7]) == [1.0, None, 1.0] and holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=6))
@settings(deadline=None, derandomize=True)
def test_holm_rejects_what_closed_testing_rejects(values: list[float]) -> None:
    """Holm is the closure of Bonferroni: a hypothesis' corrected p is the largest Bonferroni p of any set it is in."""
    for place, found in enumerate(holm(values)):
        sets = [
            [value for value, kept in zip(values, chosen, strict=True) if kept]
            for chosen in product((False, True), repeat=len(values))
            if chosen[place]
        ]
        assert found == pytest.approx(max(min(1.0, len(own) * min(own)) for own in sets))


@given(VALUES, st.floats(-1, 1))
@settings(deadline=None, derandomize=True)
def test_what_both_have_more_of_changes_nothing(values: list[float], shift: float) -> None:
    rising = [0.1 * place**2 for place in range(len(values))]
    here, there = paired(values, rising), paired([v + shift for v in values], [v + shift for v in rising])
    assert here is not None and there is not None
    assert there.difference.mean == pytest.approx(here.difference.mean, abs=1e-9)
    assert there.p == pytest.approx(here.p, abs=1e-6)


def test_how_many_seeds_it_takes() -> None:
    """A paired t test sees half a standard deviation with 34 pairs, a whole one with 10 (Cohen's tables, 0.05, 0.8)."""
    assert (seeds_needed(0.1, 0.05), seeds_needed(0.1, 0.1)) == (34, 10)
    assert seeds_needed(0.1, 0.05, tests=10) > 34
    assert seeds_needed(1.0, 0.001) is None
    with pytest.raises(ValueError, match=r"deviation of 0\.0"):
        seeds_needed(0.0, 0.05)


@pytest.mark.parametrize(
    ("effect", "tests"), [(0.5, 1), (1.0, 6), (4.0, 20), (8.0, 20), (15.0, 6), (20.0, 20), (6.0, 1)]
)
def test_so_many_seeds_have_the_power_and_one_less_has_not(effect: float, tests: int) -> None:
    """The power by numerical integration over the chi distribution of s, without the noncentral t."""

    def power(count: int) -> float:
        limit = stats.t.isf(0.05 / tests / 2, count - 1) / math.sqrt(count - 1)
        spreads = (numpy.arange(200_000) + 0.5) / 200_000
        chi = stats.chi.ppf(spreads, count - 1)
        return float(stats.norm.sf(limit * chi - effect * math.sqrt(count)).mean())

    needed = seeds_needed(1.0, effect, tests)
    assert needed is not None and power(needed) >= 0.8
    assert needed == 2 or power(needed - 1) < 0.8
