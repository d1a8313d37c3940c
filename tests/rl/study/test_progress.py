"""What is said while a study is conducted: the time left is that of steps like those under way."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from rl.recipe import load
from rl.study import progress
from rl.study.conduct import Attempt
from rl.study.plan import PlannedRun


def record(run: PlannedRun, steps: int) -> Attempt:
    run.path.mkdir(parents=True, exist_ok=True)
    rows = (json.dumps({"stage": "one", "step": step + 1}) for step in range(steps))
    (run.path / "metrics.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return Attempt(run, subprocess.Popen([sys.executable, "-c", ""]))


def test_a_shared_step_says_nothing_of_an_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 shared steps of 1 s; then 2 x 10 steps of 30 s, of which 5 are made in 180 s: 15 x 36 s are left.

    Four steps say nothing yet: the first ones pay for what a run loads.
    """
    recipe = load("quickstart", ["stages.sft.trainer.steps=100", "stages.grpo.trainer.steps=10"])
    sft, grpo = (recipe.model_copy(update={"stages": [stage]}) for stage in recipe.stages)
    shared = PlannedRun(tmp_path / "shared" / "seed0", sft, None, 0)
    arms = [PlannedRun(tmp_path / arm, grpo, arm, 0, shared.path) for arm in ("one", "other")]
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    said = io.StringIO()
    with progress.StudyProgress(Console(file=said, width=200), [shared, *arms]) as shown:
        shown.begun(shared)
        now += 60
        attempts = [record(shared, 60)]
        shown.seen(attempts)
        now += 40
        attempts.append(record(shared, 100))
        shown.seen(attempts[-1:])
        shown.ended(shared, 0)
        shown.begun(arms[0])
        now += 120
        attempts.append(record(arms[0], 4))
        shown.seen(attempts[-1:])
        now += 60
        attempts.append(record(arms[0], 5))
        shown.seen(attempts[-1:])
    for attempt in attempts:
        assert attempt.process.wait(60) == 0
    assert said.getvalue().splitlines() == [
        "shared/seed0: begins",
        "60 of 120 steps  00:40 left of what is shared",
        "shared/seed0: done after 01:40",
        "one: begins",
        "104 of 120 steps",
        "105 of 120 steps  09:00 left",
    ]
