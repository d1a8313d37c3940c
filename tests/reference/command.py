"""Run the real command, as a person would."""

import os
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

from rl.telemetry.jsonl import read_rows

RHYTHM = Path(sys.executable).with_name("rhythm")

# A run of seconds: every part of the quickstart, a few steps of each.
SHORT = (
    "stages.sft.trainer.steps=4",
    "stages.sft.data.size=64",
    "stages.sft.trainer.batch=16",
    "stages.sft.trainer.micro_batch=16",
    "stages.grpo.trainer.steps=6",
    "stages.grpo.trainer.prompts_per_step=4",
    "stages.grpo.trainer.num_generations=4",
    "stages.grpo.trainer.micro_batch=8",
    "stages.grpo.trainer.max_completion_length=24",
    "credit.horizon=[2, 20]",
    "credit.reselect_every=2",
    "checkpoints.every=2",
    "data.size=64",
    "telemetry.samples.every=1",
)


def overrides(*changes: str) -> list[str]:
    """Return `--set` options for every change."""
    return [word for change in changes for word in ("--set", change)]


def rhythm(*words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `rhythm` with words and wait."""
    return subprocess.run(
        [RHYTHM, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def start(*words: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start `rhythm` with words in the background."""
    return subprocess.Popen(
        [RHYTHM, *map(str, words)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_rows(path: Path, count: int, process: subprocess.Popen) -> None:
    """Wait until path, which need not be there yet, has count rows, for as long as process runs."""
    while len(read_rows(path)) < count:
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"ended with {process.returncode} too soon: {process.communicate()[0]}")


def without_times(rows: list[dict]) -> list[dict]:
    """Drop what a clock says from metrics."""
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def assert_same_run(left: Path, right: Path) -> None:
    """Hold two runs to be the same to the bit: what they wrote down but for times, and the policy they ended with."""
    assert without_times(read_rows(left / "metrics.jsonl")) == without_times(read_rows(right / "metrics.jsonl"))
    for name in ("samples.jsonl", "heads.jsonl"):
        assert read_rows(left / name) == read_rows(right / name)
    final = Path("checkpoints") / "grpo" / "final" / "model.safetensors"
    ours, theirs = load_file(left / final), load_file(right / final)
    assert all(ours[name].equal(theirs[name]) for name in theirs)
