"""Searches for Countdown: every step sound, none left out before the end, right where they end, given up where not."""

import itertools
import random
import re
from fractions import Fraction

import pytest

from rewards import Sample
from rewards.countdown import Countdown
from rewards.format import Format
from rl.data import DataError, from_reasoning_gym
from rl.data.search_traces import FIRST_PART, MOST, PATIENCE, write_search

OPTIONS = {"min_numbers": 3, "max_numbers": 3, "min_value": 2, "max_value": 12, "min_target": 5, "max_target": 50}
COUNT = 400
TRY = re.compile(r"Try (\d+) ([-+*/]) (\d+) = (\d+) with (\d+): (.*?), (yes|no)\. ")
STEP = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
SIGNS = {"+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__}
SAMPLES = [
    Sample(
        question=task.question, answer=task.answer, completion=task.completion or "", truncated=False, facts=task.facts
    )
    for task in from_reasoning_gym("countdown", COUNT, 3, OPTIONS, telling="search")
]
CAREFUL, LATER = SAMPLES[: int(FIRST_PART * COUNT)], SAMPLES[int(FIRST_PART * COUNT) :]


def reachable(numbers: list[int]) -> set[int]:
    """Return what three numbers come to by whole positive steps of at most MOST: worked out another way."""
    found = set()
    for a, b, c in itertools.permutations(numbers):
        for first, second in itertools.product(SIGNS, SIGNS):
            inner = SIGNS[first](Fraction(a), Fraction(b)) if first != "/" or b else None
            for left, right in ((inner, Fraction(c)), (Fraction(c), inner)):
                if inner is None or inner <= 0 or inner > MOST or inner.denominator > 1 or not right:
                    continue
                value = SIGNS[second](left, right)
                if 0 < value <= MOST and value.denominator == 1:
                    found.add(int(value))
    return found


def test_every_step_is_sound_and_whole() -> None:
    for sample in SAMPLES:
        for left, sign, right, result in STEP.findall(sample.completion):
            assert SIGNS[sign](Fraction(left), Fraction(right)) == int(result) <= MOST


def test_a_search_that_goes_to_its_end_finds_what_there_is() -> None:
    for sample in CAREFUL:
        numbers, target = sample.facts["numbers"], sample.facts["target"]
        assert Countdown()(sample) == float(target in reachable(numbers)), sample.completion
        assert ("I give up" in sample.completion) == (target not in reachable(numbers))
    assert sum(Countdown()(sample) or 0.0 for sample in CAREFUL) / len(CAREFUL) > 0.95


def test_later_searches_are_often_given_up_and_then_wrong() -> None:
    given_up = [sample for sample in LATER if "I give up" in sample.completion]
    assert 0.5 * PATIENCE[0] < len(given_up) / len(LATER) < PATIENCE[0] + 0.1
    assert all(Countdown()(sample) == 1.0 for sample in LATER if sample not in given_up)
    assert {Format()(sample) for sample in SAMPLES} == {0.0}


def test_a_try_says_all_that_two_numbers_come_to_until_it_hits() -> None:
    tries = [found for sample in SAMPLES for found in TRY.findall(sample.completion)]
    for left, sign, right, value, rest, steps, verdict in tries:
        assert SIGNS[sign](Fraction(left), Fraction(right)) == int(value)
        made = STEP.findall(steps)
        assert all({int(one), int(other)} == {int(value), int(rest)} for one, _, other, _ in made)
        assert [sign for _, sign, _, _ in made] == [sign for sign in "+-*/" if sign in {sign for _, sign, _, _ in made}]
        assert verdict in ("yes", "no")
    assert len({verdict for *_, verdict in tries}) == 2


def test_only_three_numbers_can_be_searched() -> None:
    with pytest.raises(ValueError, match="three numbers, not of 2"):
        write_search("q", "1 + 2", {"numbers": [1, 2], "target": 3}, random.Random(0), 0.0)
    with pytest.raises(DataError, match=r"data.traces: countdown\[0\]: a search is of three numbers"):
        from_reasoning_gym("countdown", 4, 0, {"min_numbers": 4, "max_numbers": 4}, telling="search")
