"""Two runs of one seed are the same; a run that was stopped and resumed is the run that never stopped."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from reference.command import SHORT, overrides, rhythm, start, without_times
from safetensors.torch import load_file

from rl.telemetry.jsonl import read_rows

# Two passes over each batch of rollouts in micro-batches: a checkpoint can fall between a generation and its last use,
# and 24 tasks make an epoch of 6 generations, so that the run goes on into other epochs.
RECIPE = (
    *SHORT,
    "stages.grpo.trainer.steps=20",
    "stages.grpo.trainer.num_iterations=2",
    "data.size=24",
    "checkpoints.every=3",
)


def train(path: Path, *changes: str) -> Path:
    done = rhythm("train", "quickstart", "--run-dir", path, *overrides(*RECIPE, *changes), WANDB_MODE="disabled")
    assert done.returncode == 0, done.stdout + done.stderr
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("whole") / "run")


def wait_for_rows(path: Path, count: int, process: subprocess.Popen) -> None:
    """Wait until path, which need not be there yet, has count rows, for as long as process runs."""
    while len(read_rows(path)) < count:
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"ended with {process.returncode} too soon: {process.communicate()[0]}")


def assert_same_run(left: Path, right: Path) -> None:
    assert without_times(read_rows(left / "metrics.jsonl")) == without_times(read_rows(right / "metrics.jsonl"))
    for name in ("samples.jsonl", "heads.jsonl"):
        assert read_rows(left / name) == read_rows(right / name)
    final = Path("checkpoints") / "grpo" / "final" / "model.safetensors"
    ours, theirs = load_file(left / final), load_file(right / final)
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_two_runs_of_one_seed_are_the_same(whole: Path, tmp_path: Path) -> None:
    assert_same_run(train(tmp_path / "again"), whole)


def test_another_seed_is_another_run(whole: Path, tmp_path: Path) -> None:
    other = train(tmp_path / "other", "seed=1", "stages.grpo.trainer.steps=1")
    first = next(row for row in read_rows(other / "metrics.jsonl"))
    assert first["optimizer/loss/mean"] != read_rows(whole / "metrics.jsonl")[0]["optimizer/loss/mean"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_resumed_is_never_stopped(whole: Path, tmp_path: Path, how: signal.Signals) -> None:
    path = tmp_path / "run"
    process = start("train", "quickstart", "--run-dir", path, *overrides(*RECIPE))
    wait_for_rows(path / "metrics.jsonl", 4 + 8, process)  # the eighth step of grpo: one or two after a checkpoint
    os.killpg(process.pid, how)
    out, _ = process.communicate(timeout=120)
    stopped = read_rows(path / "metrics.jsonl")
    assert len(stopped) < 4 + 20
    if how is not signal.SIGKILL:
        assert process.returncode == 130 and f"rhythm train --resume --run-dir {path}" in out
        assert "Traceback" not in out
        assert (path / "report.html").is_file()
    done = rhythm("train", "--resume", "--run-dir", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming grpo from checkpoint-" in done.stdout
    assert_same_run(path, whole)
    assert json.loads((path / "environment.json").read_text(encoding="utf-8"))["attempts"]


def test_a_finished_run_resumes_to_nothing(whole: Path) -> None:
    before = (whole / "metrics.jsonl").read_bytes()
    done = rhythm("train", "--resume", "--run-dir", whole)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (whole / "metrics.jsonl").read_bytes() == before
