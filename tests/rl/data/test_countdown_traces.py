"""Countdown's worked completions: right, told either way, and the same attempts in both."""

import random
import re

import pytest

from rewards import Sample
from rewards.countdown import Countdown
from rewards.format import Format
from rl.data import from_reasoning_gym
from rl.data.countdown_traces import VOICES, write_countdown

OPTIONS = {"min_numbers": 3, "max_numbers": 4}
STEP = re.compile(r"(-?[\d/]+) ([-+*/]) (-?[\d/]+) = (-?[\d/]+)")


def texts(dialogue: bool, count: int = 150) -> list[Sample]:
    tasks = from_reasoning_gym("countdown", count, 3, OPTIONS, telling="dialogue" if dialogue else "monologue")
    return [
        Sample(question=t.question, answer=t.answer, completion=t.completion or "", truncated=False, facts=t.facts)
        for t in tasks
    ]


@pytest.mark.parametrize("dialogue", [False, True])
def test_every_trace_is_right_and_well_formed(dialogue: bool) -> None:
    samples = texts(dialogue)
    assert {Countdown()(sample) for sample in samples} == {1.0}
    assert {Format()(sample) for sample in samples} == {0.0}
    assert len({sample.completion for sample in samples}) == len(samples)


def test_both_tellings_make_the_same_attempts() -> None:
    alone, together = texts(False), texts(True)
    for one, several in zip(alone, together, strict=True):
        assert STEP.findall(one.completion) == STEP.findall(several.completion) != []
        assert one.question == several.question
        assert not any(f"{voice}:" in one.completion for voice in VOICES)
        assert sum(f"{voice}:" in several.completion for voice in VOICES) >= 2
    assert len({len(STEP.findall(sample.completion)) for sample in alone}) > 2  # with attempts that miss, and without


def test_every_step_is_sound() -> None:
    from fractions import Fraction

    signs = {"+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__}
    for sample in texts(False):
        for left, sign, right, result in STEP.findall(sample.completion):
            assert signs[sign](Fraction(left), Fraction(right)) == Fraction(result)


def test_a_task_whose_solution_is_wrong_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1 \+ 2 is 3, not 4"):
        write_countdown("q", "1 + 2", {"numbers": [1, 2], "target": 4}, random.Random(0), 0.0, "dialogue")
