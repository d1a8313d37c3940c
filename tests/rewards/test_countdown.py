"""Arithmetic by hand, and what is none."""

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import Sample
from rewards.countdown import Countdown, evaluate

FACTS = {"numbers": [6, 61, 94, 4], "target": 309}


def score(answer: str, facts: dict | None = None) -> float | None:
    return Countdown()(
        Sample("q", "", f"<think>x</think><answer>{answer}</answer>", facts=FACTS if facts is None else facts)
    )


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ("94*4 - 61 - 6", 1),
        ("94 * 4 - (61 + 6)", 1),
        ("-6 + 94*4 - 61", 1),
        ("94*4 - 61 - 6 = 309", 1),
        ("94*4 - 61 - 6 = 310", 0),
        ("94*4 - 61 - 6 = 309 = 309", 0),
        ("94*4 - 61", 0),
        ("94*4 - 61 - 6 + 4 - 4", 0),
        ("309", 0),
        ("94*4-61-6;", 0),
        ("94x4 - 61 - 6", 0),
        ("94\u00d74 - 61 - 6", 0),
        ("94*4 - 61 \u2212 6", 0),
        ("\u0669\u0664*4 - 61 - 6", 0),
        ("94*4 - 61 - 6 # 1", 0),
        ("", 0),
    ],
)
def test_by_hand(answer: str, reward: int) -> None:
    assert score(answer) == reward


def test_what_is_no_countdown_cannot_be_judged() -> None:
    assert score("1", {}) is None
    assert score("1", {"numbers": [1]}) is None


def test_facts_may_be_text_and_must_be_whole() -> None:
    assert score("94*4 - 61 - 6 = 309", {"numbers": ["6", "61", 94.0, 4], "target": "309"}) == 1.0
    for numbers, target in (([3.7, 4], 12), ("[3, 4]", 12), ([3, 4], "x")):
        facts = {"numbers": numbers, "target": target}
        with pytest.raises(ValueError, match="facts numbers and target should be whole numbers, not"):
            score("3*4", facts)


@pytest.mark.parametrize(
    ("expression", "value", "numbers"),
    [
        ("1 + 2 * 3", 7, [1, 2, 3]),
        ("(1 + 2) * 3", 9, [1, 2, 3]),
        ("8 / 3 / 2", Fraction(4, 3), [8, 3, 2]),
        ("8 / (3 / 2)", Fraction(16, 3), [8, 3, 2]),
        ("5 - 3 - 1", 1, [5, 3, 1]),
        ("-(2 - 5)", 3, [2, 5]),
        ("1/3*3", 1, [1, 3, 3]),
    ],
)
def test_values_are_exact(expression: str, value: Fraction, numbers: list[int]) -> None:
    assert evaluate(expression) == (value, numbers)


@pytest.mark.parametrize(
    "expression",
    [
        "1/0",
        "1/(2-2)",
        "2**3",
        "7//2",
        "4(5)",
        "(1",
        "1)",
        "1 2",
        "+1",
        "1 +",
        "*1",
        "()",
        "07",
        "1_0",
        "1.5",
        "1e3",
        "a",
    ],
)
def test_what_is_no_arithmetic(expression: str) -> None:
    assert evaluate(expression) is None


@given(st.text(alphabet="0123456789+-*/() ", max_size=40))
def test_agrees_with_python_where_both_have_a_value(expression: str) -> None:
    """The grammar is the one of Python, exactly: `//` and `**` aside, and calls, which only look like brackets."""
    found = evaluate(expression)
    if found is not None:
        exact = "".join(f"F({part})" if part.isdigit() else part for part in _split(expression))
        assert found[0] == eval(exact, {"F": Fraction})  # noqa: S307 - digits and operators alone got through


def _split(expression: str) -> list[str]:
    parts: list[str] = []
    for letter in expression.strip():
        if letter.isdigit() and parts and parts[-1].isdigit():
            parts[-1] += letter
        else:
            parts.append(letter)
    return parts


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6), st.integers(0, 10**6))
def test_what_is_built_from_the_numbers_scores(numbers: list[int], seed: int) -> None:
    chance = random.Random(seed)
    pieces = [str(number) for number in numbers]
    while len(pieces) > 1:
        left, right = (pieces.pop(chance.randrange(len(pieces))) for _ in range(2))
        pieces.append(f"({left} {chance.choice('+-*')} {right})")
    found = evaluate(pieces[0])
    assert found is not None
    facts = {"numbers": numbers, "target": int(found[0])}
    assert score(pieces[0], facts) == 1.0
    assert score(pieces[0], {**facts, "target": int(found[0]) + 1}) == 0.0
    assert score(pieces[0], {**facts, "numbers": [*numbers, 1]}) == 0.0
