"""A rule of one's own in place of one of ours: the same weights, and what it leaves out is filled in."""

import sys
import types
from collections.abc import Iterator

import pytest
import torch

from rl import credit
from rl.attention import Rhythm
from rl.credit import Signals
from rl.own_rule import CreditError, OwnRule, try_out

RESPONSE = torch.tensor([[True, True, True, False]])
SIGNALS = Signals(
    response=RESPONSE,
    rhythm=Rhythm(torch.tensor([[4.0, 1.0, 1.0, 0.0]]), torch.tensor([[0.1, 0.3, 0.2, 0.0]])),
    horizon=(1, 2),
)


@pytest.fixture
def mine() -> Iterator[types.ModuleType]:
    module = types.ModuleType("rule_of_mine")
    sys.modules["rule_of_mine"] = module
    yield module
    del sys.modules["rule_of_mine"]


def test_weights_outside_the_response_do_not_count(mine: types.ModuleType) -> None:
    mine.rule = lambda signals, gain: torch.tensor([[gain, 1.0, 0.5, float("nan")]], requires_grad=True)
    found = OwnRule("rule_of_mine:rule", {"gain": 3.0})(SIGNALS)
    assert found.weights.tolist() == [[3.0, 1.0, 0.5, 0.0]] and not found.weights.requires_grad
    assert found.selected.tolist() == [[True, False, False, False]]
    # floor(0.4 x 3) = 1: the token of the largest FAI, and that of the largest Delta = (3, 0).
    assert found.anchors is not None and found.anchors.tolist() == [[False, True, False, False]]
    assert found.preplan is not None and found.preplan.tolist() == [[True, False, False, False]]


def test_a_rule_of_ours_by_its_path_is_itself() -> None:
    ours, own = credit.coupled(SIGNALS, gain=2.0), OwnRule("rl.credit:coupled", {"gain": 2.0})(SIGNALS)
    for name in ("weights", "selected", "anchors", "preplan", "dominated"):
        assert getattr(own, name).equal(getattr(ours, name))
    try_out(OwnRule("rl.credit:coupled"), {"attention"}, (10, 100))
    with pytest.raises(CreditError, match=r"rl.credit:random failed: AssertionError: random credit needs noise"):
        try_out(OwnRule("rl.credit:random"), {"entropy"}, (10, 100))
    try_out(OwnRule("rl.credit:random"), {"noise"}, (10, 100))


@pytest.mark.parametrize("weight", [float("inf"), float("nan"), -0.5])
def test_a_weight_that_is_none_is_refused(mine: types.ModuleType, weight: float) -> None:
    mine.rule = lambda signals: torch.tensor([[1.0, weight, 1.0, 1.0]])
    with pytest.raises(CreditError, match="returned the weight"):
        OwnRule("rule_of_mine:rule")(SIGNALS)


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        (torch.tensor([[1.0, 0.0, 0.0, 0.0]]), r"selected as torch.float32 of \(1, 4\); it should be booleans"),
        (torch.tensor([True]), r"selected as torch.bool of \(1,\)"),
        (None, "a Credit without selected"),
        ("all", "selected as str"),
    ],
)
def test_what_a_rule_selected_is_checked(mine: types.ModuleType, marks: object, words: str) -> None:
    given = credit.Credit(torch.ones(1, 4), torch.zeros(1, 4, dtype=torch.bool))
    object.__setattr__(given, "selected", marks)  # as it would be made where types are not checked
    mine.rule = lambda signals: given
    with pytest.raises(CreditError, match=words):
        OwnRule("rule_of_mine:rule")(SIGNALS)


def test_complex_weights_are_none(mine: types.ModuleType) -> None:
    mine.rule = lambda signals: torch.ones(1, 4, dtype=torch.complex64)
    with pytest.raises(CreditError, match="should return a tensor of weights"):
        OwnRule("rule_of_mine:rule")(SIGNALS)
