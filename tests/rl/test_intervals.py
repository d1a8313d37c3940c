"""Intervals by hand, by their coverage, and over groups."""

import numpy
import pytest

from rl.intervals import Interval, difference_of, mean_of


def test_a_mean_is_over_values_and_its_interval_over_groups() -> None:
    assert mean_of([], []) is None
    assert mean_of([1.0, 2.0, 6.0], ["a", "a", "a"]) == Interval(3.0, None, None, 3)
    # Two groups with means 0 and 1: a draw takes one of them twice, or both: 0, 0.5, 1 with odds 1, 2, 1.
    assert mean_of([0.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"]) == Interval(0.5, 0.0, 1.0, 4)
    # Each value in a group of its own: the interval of 4 draws of 4.
    found = mean_of([0.0, 0.0, 1.0, 1.0], [1, 2, 3, 4])
    assert found == Interval(0.5, 0.0, 1.0, 4)
    assert mean_of([0.0, 1.0] * 50, range(100)) == mean_of([0.0, 1.0] * 50, range(100))
    assert str(Interval(0.5, 0.25, 0.75, 4)) == "0.500 [0.250, 0.750]" and str(Interval(0.5, None, None, 1)) == "0.500"


def test_alike_values_of_a_group_make_no_interval_narrower() -> None:
    random = numpy.random.default_rng(0)
    each = random.normal(size=40)
    one, ten = (
        mean_of(each.tolist(), range(40)),
        mean_of(numpy.repeat(each, 10).tolist(), [i // 10 for i in range(400)]),
    )
    assert one and ten and one.low == pytest.approx(ten.low) and one.high == pytest.approx(ten.high)


def test_95_of_100_intervals_hold_the_truth() -> None:
    random = numpy.random.default_rng(0)
    found = [mean_of(random.normal(3.0, 1.0, 60).tolist(), range(60)) for _ in range(100)]
    held = sum(one.low <= 3.0 <= one.high for one in found if one and one.low is not None and one.high is not None)
    assert 88 <= held <= 99


def test_differences() -> None:
    assert difference_of([], [], [1.0], ["a"]) is None
    found = difference_of([3.0, 3.0], ["a", "b"], [1.0, 1.0], ["a", "b"])
    assert found == Interval(2.0, 2.0, 2.0, 4)
    # The same question on both sides: its own level is in neither interval's way.
    levels = numpy.random.default_rng(0).normal(0, 10, 50)
    paired = difference_of((levels + 1).tolist(), range(50), levels.tolist(), range(50))
    apart = difference_of((levels + 1).tolist(), range(50), levels.tolist(), range(50, 100))
    assert paired and apart and paired.low == pytest.approx(1.0) and apart.low is not None and apart.low < -1
