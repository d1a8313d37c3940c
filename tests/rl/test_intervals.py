"""Intervals by hand, by their coverage, and over groups."""

import numpy
import pytest

from rl.intervals import Interval, difference_of, mean_of, means_of, share_of


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


def test_a_share_of_one_is_not_certain() -> None:
    assert share_of([], []) is None
    assert share_of([True, False], ["a", "a"]) == Interval(0.5, None, None, 2)
    # Wilson's interval of 20 out of 20: z^2 = 3.8415, low = 20 / 23.8415.
    all_right = share_of([True] * 20, range(20))
    assert all_right and (all_right.low, all_right.high) == (pytest.approx(20 / 23.8415, abs=1e-4), 1.0)
    # As many from five questions alone are five.
    clustered = share_of([True] * 20, [n // 4 for n in range(20)])
    assert clustered and clustered.low == pytest.approx(5 / 8.8415, abs=1e-4)
    # Ten alike of each of 40 groups are 40 flags, near enough; 400 of their own are 400.
    random = numpy.random.default_rng(0)
    flags = random.random(40) < 0.3
    alone = share_of(flags.tolist(), range(40))
    alike = share_of(numpy.repeat(flags, 10).tolist(), [n // 10 for n in range(400)])
    assert alone and alike and alone.low and alike.low and alone.low == pytest.approx(alike.low, abs=1e-6)
    many = share_of(random.permutation(numpy.repeat(flags, 10)).tolist(), range(400))
    assert many and many.low and many.low > alike.low + 0.03


@pytest.mark.parametrize("truth", [0.05, 0.5, 0.98])
def test_95_of_100_intervals_of_shares_hold_the_truth(truth: float) -> None:
    random = numpy.random.default_rng(1)
    found = [share_of((random.random(80) < truth).tolist(), range(80)) for _ in range(400)]
    held = sum(one.low <= truth <= one.high for one in found if one and one.low is not None and one.high is not None)
    assert 0.92 <= held / 400 <= 0.99


def test_columns_are_drawn_together() -> None:
    table = [[1.0, 3.0, -2.0], [2.0, 4.0, -2.0], [6.0, 8.0, -2.0]]
    found = means_of(table, ["a", "b", "b"])
    assert found[0] == mean_of([1.0, 2.0, 6.0], ["a", "b", "b"]) and found[0].mean == 3.0
    assert found[2] == Interval(-2.0, -2.0, -2.0, 3) and found[1].low == pytest.approx((found[0].low or 0) + 2)


def test_differences() -> None:
    assert difference_of([], [], [1.0], ["a"]) is None
    found = difference_of([3.0, 3.0], ["a", "b"], [1.0, 1.0], ["a", "b"])
    assert found == Interval(2.0, 2.0, 2.0, 4)
    assert difference_of([1.0, 3.0], ["a", "a"], [0.5], ["b"]) == Interval(1.5, None, None, 3)
    # The same question on both sides: its own level is in neither interval's way.
    levels = numpy.random.default_rng(0).normal(0, 10, 50)
    paired = difference_of((levels + 1).tolist(), range(50), levels.tolist(), range(50))
    apart = difference_of((levels + 1).tolist(), range(50), levels.tolist(), range(50, 100))
    assert paired and apart and paired.low == pytest.approx(1.0) and apart.low is not None and apart.low < -1
