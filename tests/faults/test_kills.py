"""Twenty kill -9, one after another on one run: nothing is lost, nothing is done twice, and the policy is the same."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from reference import small
from reference.command import assert_same_run

from rl.recipe import dump, load
from rl.telemetry.jsonl import read_rows
from rl.telemetry.record import RunDirectory

KILLS = 20
FORKED = small.TESTS / "reference" / "forked.py"


def test_a_run_that_is_killed_twenty_times_is_the_run_that_was_not(tmp_path: Path, injected: Callable) -> None:
    injected(KILLS)
    steps = "stages.grpo.trainer.steps=48"
    whole = small.train(tmp_path / "whole", steps)
    run = tmp_path / "run"
    RunDirectory.prepare(run, dump(load("quickstart", [*small.RECIPE, steps])))
    environment = {**os.environ, "PYTHONPATH": f"{Path(small.__file__).parents[2]}:{small.TESTS}"}
    command = [sys.executable, str(FORKED), str(run), str(KILLS), "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1000, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    hits = json.loads(done.stdout.splitlines()[-1])
    assert sum(hits.values()) == KILLS and len(hits) == 4, hits
    places = [(row["stage"], row["step"]) for row in read_rows(run / "metrics.jsonl")]
    assert places == [*(("sft", i + 1) for i in range(small.SFT_STEPS)), *(("grpo", i + 1) for i in range(48))]
    assert_same_run(run, whole)
