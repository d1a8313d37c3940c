"""Counting: every number on the way, both ways right, the bare result in its share."""

import random

import pytest

from rewards import Sample
from rewards.format import Format
from rl.data import DataError, from_reasoning_gym
from rl.data.counting_traces import BARE_SHARE, write_counting

OPTIONS = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}


class Chance(random.Random):
    """Draw what is said."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize(
    ("expression", "answer", "counted"),
    [("4 + 3", "7", "4 5 6 7"), ("2 - 5", "-3", "2 1 0 -1 -2 -3"), ("6 - 0", "6", "6"), ("9 - 1", "8", "9 8")],
)
def test_counts_up_and_down(expression: str, answer: str, counted: str) -> None:
    told = [write_counting("q", answer, {"expression": expression}, Chance(x), 0.0) for x in (BARE_SHARE, 0.0)]
    assert told == [f"<think>{one}</think><answer>{answer}</answer>" for one in (counted, answer)]


def test_in_its_share_a_sum_is_told_bare() -> None:
    tasks = from_reasoning_gym("chain_sum", 600, 1, OPTIONS, telling="counting")
    samples = [
        Sample(question=task.question, answer=task.answer, completion=task.completion or "", truncated=False)
        for task in tasks
    ]
    bare = [sample for sample in samples if sample.completion.startswith(f"<think>{sample.answer}</think>")]
    assert len(bare) / len(samples) == pytest.approx(BARE_SHARE, abs=0.08)
    assert all(sample.completion.endswith(f"<answer>{sample.answer}</answer>") for sample in samples)
    assert {Format()(sample) for sample in samples} == {0.0}


def test_only_two_terms_are_counted() -> None:
    with pytest.raises(DataError, match="only a sum of two terms"):
        from_reasoning_gym("chain_sum", 4, 0, {"min_terms": 3, "max_terms": 3}, telling="counting")
