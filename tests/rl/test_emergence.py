"""Which heads are what, by numbers worked out by hand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.emergence import change, drift, members, rank_correlation, spread

NAN = math.nan


def test_members_are_those_above_their_marks() -> None:
    scores = {
        "distance": {0: [1.0, 2.0], 3: [3.0, 4.0]},
        "local": {3: [1.0, 0.0]},
        "global": {3: [0.0, 1.0]},
        "retrieval": {0: [0.1, 0.11], 3: [NAN, 0.9]},
        "sink": {0: [0.5, 0.51], 3: [0.0, NAN]},
    }
    assert members(scores) == {
        ("local", 3, 0),
        ("global", 3, 1),
        ("retrieval", 0, 1),
        ("retrieval", 3, 1),
        ("sink", 0, 1),
    }


def test_receivers_are_the_twenty_of_largest_kurtosis_or_a_tenth() -> None:
    """Of 40 heads a tenth is 4; of 400 it would be 40, and 20 are taken. Without any kurtosis there are none."""
    few = {"receiver": {layer: [1.0 + 10 * layer + head for head in range(10)] for layer in range(4)}}
    assert members(few) == {("receiver", 3, head) for head in (6, 7, 8, 9)}
    many = {"receiver": {layer: [float(10 * layer + head) for head in range(10)] for layer in range(40)}}
    assert members(many) == {("receiver", layer, head) for layer in (38, 39) for head in range(10)}
    assert members({"receiver": {0: [NAN] * 10}}) == members({"receiver": {0: [-1.2] * 10}}) == frozenset()


def test_turnover_is_the_share_that_only_one_snapshot_has() -> None:
    before = {("local", 0, 0), ("local", 0, 1), ("sink", 1, 0)}
    now = {("local", 0, 1), ("sink", 1, 1)}
    found = change(before, now)
    assert found.appeared == {("sink", 1, 1)}
    assert found.stayed == {("local", 0, 1)}
    assert found.vanished == {("local", 0, 0), ("sink", 1, 0)}
    assert found.turnover == 3 / 4
    assert change(before, before).turnover == 0 and change((), ()).turnover == 0
    assert change(before, ()).turnover == 1


SETS = st.frozensets(st.tuples(st.sampled_from(["local", "sink"]), st.integers(0, 3), st.integers(0, 3)))


@given(SETS, SETS, SETS)
@settings(deadline=None, derandomize=True)
def test_turnover_is_a_distance(a: frozenset, b: frozenset, c: frozenset) -> None:
    """Jaccard's: symmetric, 0 only of equal sets, and never longer on the direct way."""
    assert change(a, b).turnover == change(b, a).turnover
    assert (change(a, b).turnover == 0) == (a == b)
    assert change(a, c).turnover <= change(a, b).turnover + change(b, c).turnover + 1e-12


def test_drift_is_in_standard_errors() -> None:
    """Head 0 has 1, 3, 1, 3 in four draws: deviation 2 / sqrt 3, error 1 / sqrt 3. Head 1 never varied by chance."""
    draws = [{"distance": {0: [value, 5.0]}, "sink": {0: [NAN, 0.5]}} for value in (1.0, 3.0, 1.0, 3.0)]
    errors = spread(draws)
    own = 1 / math.sqrt(3)
    least = 0.1 * own / 2  # a tenth of the median of own and 0
    assert errors["distance"][0] == pytest.approx([own, least])
    assert math.isnan(errors["sink"][0][0])
    base = {"distance": {0: [2.0, 5.0]}, "sink": {0: [NAN, 0.5]}}
    now = {"distance": {0: [3.0, 5.0 + 2 * least]}, "sink": {0: [0.1, 0.5]}}
    assert drift(now, base, errors)[0] == pytest.approx([math.sqrt(3), 2.0])
    assert drift(base, base, errors)[0] == [0.0, 0.0]


def test_drift_is_the_root_mean_square_over_scores() -> None:
    """3 errors in one score and 4 in another: sqrt((9 + 16) / 2)."""
    errors = {"distance": {0: [1.0]}, "entropy": {0: [0.5]}}
    base = {"distance": {0: [10.0]}, "entropy": {0: [1.0]}}
    now = {"distance": {0: [13.0]}, "entropy": {0: [-1.0]}}
    assert drift(now, base, errors) == {0: [pytest.approx(math.sqrt(12.5))]}


def test_a_rank_correlation_needs_four_pairs_and_some_change() -> None:
    assert rank_correlation([1, 2, 3], [1, 2, 3]) is None
    assert rank_correlation([1, 2, 3, 4], [5, 5, 5, 5]) is None
    assert rank_correlation([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)
