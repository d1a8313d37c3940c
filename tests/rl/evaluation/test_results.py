"""What answers come to, by hand: avg@k, pass@k, intervals over tasks, paired differences, Page's test."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.wordless import wordless

from rl.evaluation.answers import Answer
from rl.evaluation.differences import differences
from rl.evaluation.results import pass_at, passes_by_task, powers, results_of
from rl.evaluation.trend import trend_of
from rl.intervals import Interval, rate_of, share_of


def answer(task: int, correct: bool | None, tokens: int = 4, **parts: float | None) -> Answer:
    """An answer of so many tokens, cut off behind five of them."""
    return wordless(task, correct, tokens, parts, cut=tokens > 5)


def answers_of(*tasks: str) -> list[Answer]:
    """Answers by task: + right, - wrong, ? unjudged."""
    outcomes = {"+": True, "-": False, "?": None}
    return [answer(task, outcomes[mark]) for task, marks in enumerate(tasks) for mark in marks]


def test_results_by_hand() -> None:
    first = [answer(0, True, 4, answer=1.0), answer(0, False, 8, answer=1.0)]
    found = results_of([*first, answer(1, True, 6, answer=1.0), answer(1, None, 2, answer=None)], seed=0)
    assert found.accuracy and (found.accuracy.mean, found.accuracy.count) == (pytest.approx(2 / 3), 3)
    assert found.tokens and found.tokens.mean == 5 and found.cut and found.cut.mean == 0.5
    assert (found.tasks, found.answers, found.unjudged) == (2, 4, 1)
    assert found.parts["answer"] == Interval(1.0, None, None, 3)  # alike in all tasks, which makes nothing certain


def test_pass_at_k_by_hand() -> None:
    """Chen et al.: of 2 right among 4, one of six pairs has none right, and no three of them."""
    assert [pass_at(4, 2, k) for k in (1, 2, 4)] == [0.5, pytest.approx(5 / 6), 1.0]
    assert pass_at(4, 0, 4) == 0.0 and pass_at(1, 1, 1) == 1.0 and pass_at(200, 1, 100) == pytest.approx(0.5)
    for n, c, k in ((4, 2, 5), (4, 5, 1), (4, 2, 0), (4, -1, 1)):
        with pytest.raises(ValueError, match="is not defined"):
            pass_at(n, c, k)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one(flags: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(flags)))
    draws = [any(draw) for draw in itertools.combinations(flags, k)]
    assert pass_at(len(flags), sum(flags), k) == pytest.approx(sum(draws) / len(draws))


def test_avg_and_pass_over_tasks_have_intervals_over_tasks() -> None:
    """Two tasks: a draw takes one of them twice, or both, so that the ends are the tasks' own values."""
    found = results_of(answers_of("++--", "----"), seed=0)
    assert found.accuracy == Interval(0.25, 0.0, 0.5, 8)
    assert found.passes.keys() == {1, 2, 4} and found.passes[1] == Interval(0.25, 0.0, 0.5, 2)
    two = found.passes[2]
    assert two and (two.mean, two.low, two.high) == (pytest.approx(5 / 12), 0.0, pytest.approx(5 / 6))
    assert found.passes[4] == Interval(0.5, 0.0, 1.0, 2)
    assert json.loads(json.dumps({k: one and one.mean for k, one in found.passes.items()}))["4"] == 0.5


def test_an_unjudged_answer_is_none_of_the_draws() -> None:
    answers = answers_of("+-??", "----")
    assert powers(answers) == [1, 2, 4]
    assert passes_by_task(answers, 2) == {0: 1.0, 1: 0.0} and passes_by_task(answers, 4) == {1: 0.0}
    assert results_of(answers_of("??"), 0).passes == {1: None, 2: None} and results_of([], 0).passes == {}


def test_a_rate_is_bootstrapped_where_tasks_differ() -> None:
    """Wilson of 4 out of 4, z^2 = 3.8415: low = 4 / 7.8415."""
    assert rate_of([], []) is None and rate_of([0.5], ["a"]) == Interval(0.5, None, None, 1)
    assert rate_of([0.0, 1.0], ["a", "b"]) == Interval(0.5, 0.0, 1.0, 2)
    alike = rate_of([1.0] * 4, range(4))
    assert alike == share_of([True] * 4, range(4)) and alike and alike.low == pytest.approx(4 / 7.8415, abs=1e-4)


def test_differences_are_paired_by_task() -> None:
    """Every task is one half better: no draw of tasks says anything else, which makes nothing certain."""
    ours, theirs = answers_of("++", "+-", "++"), answers_of("+-", "--", "+-")
    ours = [one.model_copy(update={"num_tokens": one.num_tokens + 3}) for one in ours]
    found = differences(ours, theirs, seed=0)
    assert found["accuracy"] == Interval(0.5, None, None, 12) and found["tokens"] == Interval(3.0, None, None, 12)
    assert found["pass@1"] == Interval(0.5, None, None, 6)
    # pass@2 is 1, 1, 1 against 1, 0, 1: draws of three tasks hold the second 0 to 3 times.
    assert found["pass@2"] == Interval(pytest.approx(1 / 3), 0.0, 1.0, 6)
    assert differences(answers_of("?"), answers_of("+"), seed=0)["accuracy"] is None


def test_a_task_that_one_side_has_no_verdict_on_is_in_neither() -> None:
    """Task 0 is right on both sides; of task 1 the right side could be judged once, and pass@2 of it not at all."""
    found = differences(answers_of("++", "--"), answers_of("++", "?-"), seed=0)
    assert found["pass@2"] == Interval(0.0, None, None, 2)
    assert differences(answers_of("++", "--"), answers_of("++", "??"), seed=0)["accuracy"] == Interval(
        0.0, None, None, 4
    )


def test_pages_test_by_hand() -> None:
    """Three tasks that agree: L = 3 (1 + 4 + 9), the one order of all 6^3; one that disagrees takes 14 - 10 of it."""

    def arms(*lengths: tuple[int, ...]) -> list[list[Answer]]:
        return [[answer(task, None, tokens) for task, tokens in enumerate(own)] for own in lengths]

    found = trend_of("tokens", arms((1, 20, 300), (2, 30, 301), (9, 31, 302)), lambda one: one.num_tokens)
    assert (found.statistic, found.tasks, found.values) == (42.0, 3, 3) and found.p_value == pytest.approx(1 / 216)
    found = trend_of("tokens", arms((1, 20, 302), (2, 30, 301), (9, 31, 300)), lambda one: one.num_tokens)
    assert found.statistic == 38.0 and found.p_value is not None and found.p_value > 0.05
    # Two answers to a task are one rank, that of their mean; a task that an arm lacks is left out.
    first, second, third = arms((1, 20, 300), (2, 30), (9, 31))
    found = trend_of(
        "tokens", [[*first, answer(0, None, 3)], [*second, answer(0, None, 0)], third], lambda one: one.num_tokens
    )
    assert found.tasks == 2 and found.statistic == (2 + 2 + 9) + (1 + 4 + 9)  # ranks 2, 1, 3 and 1, 2, 3
    for few in (arms((1, 2), (3, 4)), arms((1,), (2,), (3,))):
        told = trend_of("tokens", few, lambda one: one.num_tokens)
        assert told.p_value is None and told.note == "wants 3 values and 2 tasks at least"
