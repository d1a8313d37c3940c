"""How rewards become one: every combination by hand, None apart from 0, and rubrics that cannot work."""

import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import REWARDS, RewardError, Rubric, Sample, find
from rewards.answer import Answer
from rewards.effort import Effort, LengthTarget
from rewards.format import Format
from rewards.monitor import Monitor, own_label

RIGHT, WRONG = "<think>a</think><answer>12</answer>", "<think>a</think><answer>13</answer>"


class Fixed:
    """Give what the sample's facts say."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, sample: Sample) -> Any:
        return sample.facts[self.name]


def sample(completion: str = RIGHT, **facts: Any) -> Sample:
    return Sample(question="q", answer="12", completion=completion, facts=facts)


def rubric(combine: Any, **roles: Any) -> Rubric:
    """Parts c, x, f of weights 2, 0.5 (1 where x is a gate), 0.1."""
    x = 1.0 if "gate" in roles.values() else 0.5
    return Rubric({name: Fixed(name) for name in "cxf"}, {"c": 2.0, "x": x, "f": 0.1}, combine, roles)


@pytest.mark.parametrize(
    ("combine", "roles", "parts", "total"),
    [
        ("sum", {}, (1, 0.5, -1), 2 + 0.25 - 0.1),
        ("sum", {}, (1, None, -1), 2 - 0.1),
        ("sum", {}, (None, None, None), None),
        ("sum", {"c": "correct"}, (None, 0.5, -1), None),
        ("gate", {"c": "correct", "x": "gate"}, (1, 1, -1), 2 * 1 - 0.1),
        ("gate", {"c": "correct", "x": "gate"}, (1, 0, -1), -0.1),
        ("gate", {"c": "correct", "x": "gate"}, (0, 1, -1), -0.1),
        ("gate", {"c": "correct", "x": "gate"}, (1, 0.25, 0), 0.5),
        ("gate", {"c": "correct", "x": "gate"}, (1, None, 0), None),
        ("gate", {"c": "correct", "x": "gate"}, (0, None, 0), 0),
        ("gate", {"c": "correct", "x": "gate"}, (None, 1, 0), None),
        ("bonus_if_correct", {"c": "correct", "x": "bonus"}, (1, 0.5, -1), 2 + 0.25 - 0.1),
        ("bonus_if_correct", {"c": "correct", "x": "bonus"}, (0, 0.5, -1), -0.1),
        ("bonus_if_correct", {"c": "correct", "x": "bonus"}, (1, None, -1), 2 - 0.1),
        ("bonus_if_correct", {"c": "correct", "x": "bonus"}, (None, 1, 1), None),
        ("lagrangian", {"x": "constraint"}, (1, -1, -1), 2 - 3 * 0.5 - 0.1),
        ("lagrangian", {"x": "constraint"}, (1, 0, -1), 2 - 0.1),
        ("lagrangian", {"x": "constraint"}, (1, None, -1), None),
        ("decoupled", {}, (1, 0.5, -1), 2 + 0.25 - 0.1),
    ],
)
def test_totals_by_hand(combine: str, roles: dict, parts: tuple, total: float | None) -> None:
    """Lambda is 3, and only a lagrangian reads it."""
    score = rubric(combine, **roles).score(sample(c=parts[0], x=parts[1], f=parts[2]), multiplier=3.0)
    assert score.total == (None if total is None else pytest.approx(total))
    assert tuple(score.parts.values()) == parts


def test_what_weighs_nothing_is_measured_alone() -> None:
    """It neither gates, nor makes a total None, nor says what is right."""
    parts = {name: Fixed(name) for name in ("c", "g", "x")}
    weightless = Rubric(parts, {"c": 1.0, "g": 0.0, "x": 1.0}, "gate", {"c": "correct", "g": "gate", "x": "gate"})
    assert weightless.score(sample(c=1, g=0, x=1)).total == 1.0
    constrained = Rubric(parts, {"c": 0.0, "g": 0.0, "x": 1.0}, "lagrangian", {"c": "correct", "x": "constraint"})
    score = constrained.score(sample(c=None, g=None, x=-1), multiplier=2.0)
    assert (score.total, score.parts) == (-2.0, {"c": None, "g": None, "x": -1.0})


def test_avar_and_e1_and_l1_as_their_papers_have_them() -> None:
    avar = Rubric(
        {"answer": Answer(), "bonus": Fixed("b"), "format": Fixed("f")},
        {"answer": 1.0, "bonus": 0.3, "format": 0.1},
        "bonus_if_correct",
        {"bonus": "bonus"},
    )
    assert avar.score(sample(RIGHT, b=1, f=1)).total == pytest.approx(1.4)
    assert avar.score(sample(WRONG, b=1, f=1)).total == pytest.approx(0.1)
    e1 = Rubric({"answer": Answer(), "effort": Effort()}, {"answer": 1.0, "effort": 1.0}, "gate")
    for completion, length, total in ((RIGHT, 50, 1), (RIGHT, 51, 0), (WRONG, 10, 0)):
        made = Sample("q", "12", completion, length=length, effort=0.5, average_length=100)
        assert e1.score(made).total == total
    l1 = Rubric({"answer": Answer(), "length": LengthTarget()}, {"answer": 1.0, "length": 0.0003})
    assert l1.score(Sample("q", "12", RIGHT, length=900, target_length=1000)).total == pytest.approx(1 - 0.03)


def test_a_soft_gate_falls_over_its_softness() -> None:
    gate = Effort(gate="soft", softness=0.5)
    values = [gate(Sample("q", "1", "", length=n, effort=0.4, average_length=100)) for n in (40, 50, 65, 90, 200)]
    assert values == [1.0, pytest.approx(0.8), pytest.approx(0.5), 0.0, 0.0]
    assert gate(Sample("q", "1", "", length=3, effort=0.4, average_length=0)) == 0.0
    assert gate(Sample("q", "1", "", length=0, effort=0.4, average_length=0)) == 1.0


def test_what_nothing_was_told_of_cannot_be_judged() -> None:
    bare = sample()
    assert [Effort()(bare), LengthTarget()(bare), Monitor()(bare)] == [None, None, None]
    assert Monitor(violation=-2.0)(Sample("q", "1", "", verdict="unsafe")) == -2.0
    assert Monitor()(Sample("q", "1", "", verdict="safe")) == 0.0


def test_format_is_a_penalty_and_never_a_gift() -> None:
    assert Format()(sample("<think>a</think><answer>1</answer>")) == 0.0
    assert Format()(sample("<answer>1</answer>")) == -1.0
    assert Format(tags=("answer",))(sample("<answer>1</answer>")) == 0.0
    four = Format(tags=("think", "monitor", "label", "output"))
    assert four(sample("<think>a</think><monitor>b</monitor><label>safe</label><output>c</output>")) == 0.0
    assert four(sample("<think>a</think><label>safe</label><monitor>b</monitor><output>c</output>")) == -1.0


def test_decoupled_by_hand() -> None:
    """c is 0, 1, 1, 0: mean 1/2, deviation 1/sqrt 3; x has no spread; f is 0 and 2 where it could judge."""
    rows = [(0, 5, 0), (1, 5, 2), (1, 5, None), (0, 5, None)]
    parts = [dict(zip("cxf", row, strict=True)) for row in rows]
    z, s = math.sqrt(3) / 2, 1 / math.sqrt(2)
    expected = [-2 * z - 0.1 * s, 2 * z + 0.1 * s, 2 * z, -2 * z]
    assert rubric("decoupled").decouple(parts) == pytest.approx(expected)


def test_what_has_no_total_counts_for_no_mean() -> None:
    """Two alike get nothing, whatever stands beside them without a total."""
    parts = [{"c": None, "x": 5, "f": -1}, {"c": 1, "x": 5, "f": 0}, {"c": 1, "x": 5, "f": 0}]
    assert rubric("decoupled", c="correct").decouple(parts) == [0.0, 0.0, 0.0]
    parts[2] = {"c": 0, "x": 5, "f": 0}
    found = rubric("decoupled", c="correct").decouple(parts)
    assert found[0] == 0.0 and found[1] == -found[2] > 0


PART = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0]))
GROUP = st.lists(st.fixed_dictionaries({"c": PART, "x": PART, "f": PART}), min_size=1, max_size=8)


@given(GROUP, st.randoms(use_true_random=False))
def test_permuting_a_group_permutes_its_advantages(group: list[dict], chance: Any) -> None:
    order = list(range(len(group)))
    chance.shuffle(order)
    found = rubric("decoupled").decouple(group)
    assert all(math.isfinite(value) for value in found)
    assert rubric("decoupled").decouple([group[i] for i in order]) == pytest.approx([found[i] for i in order], abs=1e-6)


@given(PART, st.lists(st.fixed_dictionaries({"c": PART, "f": PART}), min_size=2, max_size=8))
def test_a_spreadless_reward_is_left_out(value: float | None, group: list[dict]) -> None:
    with_it = rubric("decoupled").decouple([{**row, "x": value} for row in group])
    without = rubric("decoupled").decouple([{**row, "x": None} for row in group])
    judged = [any(part is not None for part in row.values()) for row in group]
    assert all(a == pytest.approx(b) for a, b, known in zip(with_it, without, judged, strict=True) if known)


@pytest.mark.parametrize(
    ("rewards", "weights", "combine", "roles", "reason"),
    [
        ({}, {}, "sum", {}, "at least one reward"),
        ({"answer": Answer()}, {"format": 1.0}, "sum", {}, "must name the same parts"),
        ({"answer": Answer()}, {"answer": 0.0}, "sum", {}, "every weight is 0"),
        ({"answer": Answer()}, {"answer": 1.0}, "product", {}, "unknown combination 'product'; one of sum, gate"),
        (
            {"answer": Answer()},
            {"answer": 1.0},
            "gate",
            {},
            "gate needs a part with the role gate; there are answer: correct",
        ),
        ({"effort": Effort()}, {"effort": 1.0}, "gate", {}, "gate needs a part with the role correct"),
        ({"answer": Answer()}, {"answer": 1.0}, "lagrangian", {}, "needs a part with the role constraint"),
        ({"answer": Answer()}, {"answer": 1.0}, "bonus_if_correct", {}, "needs a part with the role bonus"),
        (
            {"answer": Answer()},
            {"answer": 1.0},
            "sum",
            {"answer": "gate"},
            "the role gate has no effect with combine sum",
        ),
        ({"answer": Answer()}, {"answer": 1.0}, "sum", {"other": "add"}, "roles name other"),
        ({"answer": Answer()}, {"answer": float("nan")}, "sum", {}, "every weight should be a finite number"),
        ({"answer": Answer(), "effort": Effort()}, {"answer": 1.0, "effort": 0.5}, "gate", {}, "a gate multiplies"),
        (
            {"answer": Answer(), "effort": Effort()},
            {"answer": 1.0, "effort": 0},
            "gate",
            {},
            "needs a part with the role",
        ),
        ({"answer": Answer()}, {"answer": 1.0}, "sum", {"answer": "boss"}, "unknown role 'boss'"),
    ],
)
def test_a_rubric_dies_at_construction(rewards: dict, weights: dict, combine: Any, roles: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Rubric(rewards, weights, combine, roles)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Answer(tag="a b"), "tag must be"),
        (lambda: Answer(seconds=0), "seconds must be"),
        (lambda: Answer(seconds=float("inf")), "seconds must be"),
        (lambda: Format(tags="think"), "tags must be a list"),
        (lambda: Format(tags=("think", "think")), "tags must differ"),
        (lambda: Effort(gate="wide"), "gate must be one of hard, soft"),
        (lambda: Effort(softness=-1), "softness must be"),
        (lambda: Monitor(violation=1), "violation must be below 0"),
    ],
)
def test_settings_that_make_no_sense(make: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()


class Unspoken(float):
    """A number that reads as nothing at all."""

    def __repr__(self) -> str:
        return ""


BAD = [float("nan"), float("inf"), "1", object(), [1], 1e308, 10**400, pytest.param(10**5000, id="endless")]


@pytest.mark.parametrize("bad", [*BAD, pytest.param(Unspoken("nan"), id="unspoken")])
def test_what_is_no_finite_number_is_an_error_that_names_reward_and_sample(bad: object) -> None:
    gave = r"(gave .*, which is no number to train on|ValueError: Exceeds .*)"
    said = rf"reward 'c' failed: {gave}; .* completion '<think>a</think>"
    with pytest.raises(RewardError, match=said) as caught:
        rubric("sum").score(sample(c=bad, x=0, f=0))
    assert caught.value.name == "c"


def test_a_reward_that_raises_is_named_and_shows_its_sample() -> None:
    with pytest.raises(
        RewardError, match=r"reward 'x' failed: KeyError: 'x'; the sample: question 'q', gold answer '12'"
    ):
        rubric("sum").score(sample(c=1))
    with pytest.raises(RewardError, match=r"\.\.\. \(5000 characters\)") as caught:
        rubric("sum").score(Sample("q", "a", "y" * 5000))
    assert len(str(caught.value)) < 1000


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("raised", "shown"), [(SystemExit(0), "SystemExit: 0"), (MuteError(), "MuteError"), (OSError("a\nb"), "a b")]
)
def test_whatever_a_reward_raises_is_one_line(raised: BaseException, shown: str) -> None:
    class Raising:
        def __call__(self, sample: Sample) -> float:
            raise raised

    with pytest.raises(RewardError) as caught:
        Rubric({"mine": Raising()}, {"mine": 1.0}).score(sample())
    assert shown in str(caught.value) and "\n" not in str(caught.value).partition("; the sample:")[0]


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_pickle(name: str) -> None:
    reward = find(name)()
    assert pickle.loads(pickle.dumps(reward)) == reward


@pytest.mark.parametrize(
    ("completion", "label"),
    [
        ("<think>a</think><monitor>b</monitor><label>safe</label><output>c</output>", "safe"),
        ("<label>unsafe</label>", "unsafe"),
        ("<label>Safe</label>", None),
        ("<label>safe unsafe</label>", None),
        ("<label>not safe</label>", None),
        ("safe", None),
    ],
)
def test_own_label(completion: str, label: str | None) -> None:
    assert own_label(completion) == label
