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
from rl.data.search_traces import MOST, write_search

OPTIONS = {"min_numbers": 3, "max_numbers": 3, "min_value": 2, "max_value": 9, "min_target": 10, "max_target": 30}
COUNT = 400
TRY = re.compile(r"Try (\d+) ([-+*/]) (\d+) = (\d+) with (\d+): (.*?)\. ")
ASKED = re.compile(r" = (\d+), (\d+)\? (yes|no)(?=; |$)")
STEP = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
SIGNS = {"+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__}


def samples() -> list[Sample]:
    """Return tasks with their searches."""
    return [
        Sample(
            question=task.question,
            answer=task.answer,
            completion=task.completion or "",
            truncated=False,
            facts=task.facts,
        )
        for task in from_reasoning_gym("countdown", COUNT, 3, OPTIONS, telling="search")
    ]


SAMPLES = samples()


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


def test_a_search_that_goes_to_its_end_finds_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl.data.search_traces.GIVEN_UP", 0.0)
    careful = samples()
    for sample in careful:
        numbers, target = sample.facts["numbers"], sample.facts["target"]
        assert Countdown()(sample) == float(target in reachable(numbers)), sample.completion
        assert ("I give up" in sample.completion) == (target not in reachable(numbers))
    assert sum(Countdown()(sample) or 0.0 for sample in careful) / len(careful) > 0.9


def test_searches_are_given_up_in_their_share_and_then_wrong() -> None:
    given_up = [sample for sample in SAMPLES if "I give up" in sample.completion]
    at_once = [sample for sample in given_up if "Try" not in sample.completion]
    assert len(at_once) / len(SAMPLES) == pytest.approx(0.75, abs=0.05)
    assert len(given_up) - len(at_once) < 0.25 * (len(SAMPLES) - len(at_once)), "the others found nothing"
    right = [Countdown()(sample) for sample in SAMPLES if sample not in given_up]
    assert set(right) == {1.0}
    assert {Format()(sample) for sample in SAMPLES} == {0.0}


def test_a_try_says_all_that_two_numbers_come_to_until_it_hits() -> None:
    verdicts = []
    for sample in SAMPLES:
        for left, sign, right, value, rest, said in TRY.findall(sample.completion):
            assert SIGNS[sign](Fraction(left), Fraction(right)) == int(value)
            made, asked = STEP.findall(said), ASKED.findall(said)
            assert all({int(one), int(other)} == {int(value), int(rest)} for one, _, other, _ in made)
            assert [sign for _, sign, _, _ in made] == sorted((sign for _, sign, _, _ in made), key="+-*/".index)
            assert [result for result, _, _ in asked] == [result for *_, result in made]
            assert {int(target) for _, target, _ in asked} <= {sample.facts["target"]}
            assert all((result == target) == (verdict == "yes") for result, target, verdict in asked)
            verdicts += [verdict for _, _, verdict in asked]
            assert "yes" not in verdicts[len(verdicts) - len(asked) : -1], "it ends where it hits"
    assert 0.05 < verdicts.count("yes") / len(verdicts) < 0.3


def test_only_three_numbers_can_be_searched() -> None:
    with pytest.raises(ValueError, match="three numbers, not of 2"):
        write_search("q", "1 + 2", {"numbers": [1, 2], "target": 3}, random.Random(0), 0.0)
    with pytest.raises(DataError, match=r"data.traces: countdown\[0\]: a search is of three numbers"):
        from_reasoning_gym("countdown", 4, 0, {"min_numbers": 4, "max_numbers": 4}, telling="search")


def test_a_target_above_what_is_looked_at_is_refused() -> None:
    with pytest.raises(ValueError, match=f"above {MOST}, and not for 31; set max_target: {MOST}"):
        write_search("q", "1", {"numbers": [2, 3, 4], "target": 31}, random.Random(0), 0.0)
