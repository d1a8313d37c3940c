"""Every kind of credit in a recipe becomes the rule that it names, with its options and the paper's values."""

from typing import Any

import pytest
import torch

from rl import credit
from rl.attention import Rhythm
from rl.credit import Signals
from rl.recipe import load
from rl.settings import build_alarms, credit_settings
from rl.trainers import Alarm

GENERATOR = torch.Generator().manual_seed(0)
SIGNALS = Signals(
    response=torch.ones(2, 40, dtype=torch.bool),
    rhythm=Rhythm(*(torch.rand(2, 40, generator=GENERATOR) for _ in range(2))),
    entropy=torch.rand(2, 40, generator=GENERATOR),
    noise=torch.rand(2, 40, generator=GENERATOR),
)
KINDS = {
    "uniform_gain": (credit.uniform_gain, set(), {"gain": 1.3}),
    "preplan": (credit.preplan, {"attention"}, {"gain": 2.0, "top_share": 0.2, "floor": 0.5, "end": "bottom"}),
    "anchor": (credit.anchor, {"attention"}, {"gain": 2.0, "top_share": 0.2, "floor": 0.5, "end": "bottom"}),
    "coupled": (credit.coupled, {"attention"}, {"gain": 2.0, "top_share": 0.2, "alpha": 0.3, "lookback": 5}),
    "shuffled": (credit.shuffled, {"attention", "noise"}, {"gain": 2.0, "floor": 0.5, "alpha": 0.3, "lookback": 5}),
    "random": (credit.random, {"noise"}, {"gain": 2.0, "top_share": 0.2, "floor": 0.5}),
    "entropy": (credit.entropy, {"entropy"}, {"gain": 2.0, "top_share": 0.2, "floor": 0.5, "end": "bottom"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_section_is_its_rule(kind: str) -> None:
    rule, reads, options = KINDS[kind]
    plain = credit_settings(load("quickstart", [f"credit.kind={kind}"]).credit)
    assert plain is not None and plain.reads == reads
    assert torch.equal(plain.rule(SIGNALS).weights, rule(SIGNALS).weights)
    changes = [f"credit.{name}={value}" for name, value in options.items()]
    changed = credit_settings(load("quickstart", [f"credit.kind={kind}", *changes]).credit)
    assert changed is not None and torch.equal(changed.rule(SIGNALS).weights, rule(SIGNALS, **options).weights)
    assert not torch.equal(changed.rule(SIGNALS).weights, plain.rule(SIGNALS).weights)


def test_uniform_is_no_credit() -> None:
    assert credit_settings(load("quickstart", ["credit.kind=uniform"]).credit) is None


def test_the_papers_first_version() -> None:
    """Horizon [10, 50], gain on non-negative advantages only; and all else that a recipe says reaches the trainer."""
    words = ["credit={sign: positive, horizon: [10, 50], probe: separate, exclude_sinks: true, layers: [2, 4]}"]
    settings = credit_settings(load("quickstart", [*words, "credit.normalize=true", "credit.calibration=5"]).credit)
    assert settings is not None
    assert (settings.sign, settings.horizon, settings.separate) == ("positive", (10, 50), True)
    assert (settings.exclude_sinks, settings.layers, settings.normalize) == (True, [2, 4], True)
    assert (settings.calibration, settings.exclude_delimiters, settings.reselect_every) == (5, False, 25)


def test_alarms_are_those_that_are_set() -> None:
    assert build_alarms(load("quickstart")) == []
    changes: list[Any] = ["alarms.entropy={below: 0.2, action: stop}", "alarms.length={below: 0.5, steps: 9}"]
    expected = [Alarm("length", 0.5, 9, stops=False), Alarm("entropy", 0.2, 5, stops=True)]
    assert build_alarms(load("quickstart", changes)) == expected
