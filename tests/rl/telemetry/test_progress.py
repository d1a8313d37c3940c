"""What a person sees: a bar on a terminal, plain lines elsewhere."""

import io

import pytest
from rich.console import Console

from rl.telemetry.progress import ProgressDisplay, clock, figures

ROW = {
    "stage": "grpo",
    "step": 2,
    "reward/total/mean": 0.4375,
    "optimizer/loss/mean": 0.1,
    "rollout/length/mean": 41.2,
    "policy/entropy/mean": 0.31,
    "time/tokens/per_second": 5120.4,
}


def test_figures_show_the_reward_or_else_the_loss() -> None:
    assert figures(ROW) == "reward +0.438  length 41  entropy 0.31  5,120 tokens/s"
    assert figures({"optimizer/loss/mean": 1.25}) == "loss 1.250"
    assert figures({"reward/total/mean": None, "optimizer/loss/mean": 1.25}) == "loss 1.250"


@pytest.mark.parametrize(("seconds", "text"), [(5, "00:05"), (65, "01:05"), (3600, "1:00:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_plain_lines_off_a_terminal() -> None:
    out = io.StringIO()
    display = ProgressDisplay(Console(file=out, force_terminal=False, width=60))
    display.begin("grpo", total=2, done=0)
    display.update({**ROW, "step": 1})
    display.update(ROW)
    display.end()
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["grpo 1/2", "grpo 2/2"]
    assert "\x1b" not in out.getvalue() and "reward +0.438" in lines[1] and lines[1].endswith("left")


def test_a_bar_on_a_terminal() -> None:
    out = io.StringIO()
    display = ProgressDisplay(Console(file=out, force_terminal=True, width=140))
    display.begin("grpo", total=2, done=0)
    display.update(ROW)
    display.end()
    text = out.getvalue()
    assert "\x1b" in text and "2/2" in text and "reward +0.438" in text and "00:00 left" in text
