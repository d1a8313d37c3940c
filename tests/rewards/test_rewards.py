"""What each reward gives, and how the rubric adds up."""

import json
import pickle
from pathlib import Path

import pytest

from rewards import REWARDS, Rubric, Sample
from rewards.answer import Answer, is_equal
from rewards.format import Format
from rewards.parse import after_marker


def sample(completion: str, answer: str = "12") -> Sample:
    return Sample(question="q", answer=answer, completion=completion)


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("<think>x</think><answer>12</answer>", 1.0),
        ("<answer>12.0</answer>", 1.0),
        ("<answer> +12 </answer>", 1.0),
        ("<answer>13</answer>", 0.0),
        ("<answer>12</answer><answer>13</answer>", 0.0),
        (r"thus \boxed{12}", 1.0),
        ("thus\n#### 12", 1.0),
        ("12", 0.0),
        ("", 0.0),
        ("<answer>__import__('os').system('true')</answer>", 0.0),
        ("<answer>" + "9" * 100_000 + "</answer>", 0.0),
    ],
)
def test_answer(completion: str, reward: float) -> None:
    assert Answer()(sample(completion)) == reward


def test_answer_without_a_gold_one_cannot_judge() -> None:
    assert Answer()(sample("<answer>1</answer>", answer=" ")) is None


@pytest.mark.parametrize(
    ("gold", "candidate", "equal"),
    [
        ("1/2", "0.5", True),
        ("1/2", r"\frac{1}{2}", True),
        ("1,072", "1072", True),
        ("1/2", "1/3", False),
        ("x + 1", "1 + x", True),
        ("Paris", "Paris", True),
    ],
)
def test_equality(gold: str, candidate: str, equal: bool) -> None:
    assert is_equal(gold, candidate) is equal


def test_a_tower_of_powers_is_given_up_in_time() -> None:
    assert not is_equal("72", "9^{9^{9^{9}}}")


def test_format_is_a_penalty_and_never_a_gift() -> None:
    assert Format()(sample("<think>a</think><answer>1</answer>")) == 0.0
    assert Format()(sample("<answer>1</answer>")) == -1.0
    assert Format(tags=("answer",))(sample("<answer>1</answer>")) == 0.0


def test_rubric_by_hand() -> None:
    rubric = Rubric({"answer": Answer(), "format": Format()}, {"answer": 1.0, "format": 0.2})
    right = rubric.score(sample("<think>a</think><answer>12</answer>"))
    assert (right.total, right.parts) == (1.0, {"answer": 1.0, "format": 0.0})
    broken = rubric.score(sample("<answer>12</answer>"))
    assert broken.total == pytest.approx(0.8)
    unjudged = rubric.score(sample("<answer>12</answer>", answer=""))
    assert (unjudged.total, unjudged.parts) == (-0.2, {"answer": None, "format": -1.0})


def test_a_rubric_that_cannot_judge_says_none_and_not_zero() -> None:
    score = Rubric({"answer": Answer()}, {"answer": 1.0}).score(sample("<answer>1</answer>", answer=""))
    assert score.total is None


@pytest.mark.parametrize(
    ("rewards", "weights", "reason"),
    [
        ({}, {}, "at least one reward"),
        ({"answer": Answer()}, {"format": 1.0}, "must name the same parts"),
        ({"answer": Answer()}, {"answer": 0.0}, "every weight is 0"),
    ],
)
def test_a_rubric_dies_at_construction(rewards: dict, weights: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Rubric(rewards, weights)


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_pickle(name: str) -> None:
    reward = REWARDS[name]()
    assert pickle.loads(pickle.dumps(reward)) == reward


def test_gsm8k_grades_its_own_gold_answers(gsm8k: Path) -> None:
    rows = [json.loads(line) for line in gsm8k.read_text(encoding="utf-8").splitlines()]
    reward = Answer()
    for row in rows:
        gold = after_marker(row["answer"], "####")
        assert gold
        assert reward(sample(row["answer"], answer=gold)) == 1.0
        assert reward(sample(f"<answer>{gold}</answer>", answer=gold)) == 1.0
        assert reward(sample(f"<answer>1{gold}</answer>", answer=gold)) == 0.0
