"""Two runs of one seed are the same; a run that was stopped and resumed is the run that never stopped."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from reference.command import SHORT, assert_same_run, overrides, rhythm, start, wait_for_rows, without_times
from safetensors.torch import load_file

from rl.telemetry.jsonl import read_rows

# Two passes over each batch of rollouts in micro-batches, so that a checkpoint can fall between a generation and its
# last use, on 24 tasks, so that an epoch ends every 12 steps; from a policy warmed up enough for its rewards to differ.
WARM = (*SHORT, "stages.sft.trainer.steps=80", "stages.sft.data.size=2560", "stages.sft.trainer.batch=32")
SFT_STEPS, STEPS = 6, 20
RECIPE = (
    *SHORT,
    f"stages.sft.trainer.steps={SFT_STEPS}",
    "stages.sft.trainer.order=shuffled",
    "stages.sft.trainer.learning_rate=1e-4",
    f"stages.grpo.trainer.steps={STEPS}",
    "stages.grpo.trainer.num_iterations=2",
    "stages.grpo.trainer.max_completion_length=48",
    "data.size=24",
    "checkpoints.every=3",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that has learnt enough to be right or well-formed now and then."""
    path = tmp_path_factory.mktemp("warm") / "run"
    words = overrides(*WARM, "stages.grpo.trainer.steps=1", "telemetry.wandb.mode=disabled")
    done = rhythm("train", "quickstart", "--run-dir", path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return path / "checkpoints" / "sft" / "final"


def words(model: Path, path: Path, *changes: str) -> list[str | Path]:
    name = (f"model.name={model}", "telemetry.wandb.mode=disabled")
    return ["train", "quickstart", "--run-dir", path, *overrides(*RECIPE, *name, *changes)]


def train(model: Path, path: Path, *changes: str) -> Path:
    done = rhythm(*words(model, path, *changes))
    assert done.returncode == 0, done.stdout + done.stderr
    return path


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(model, tmp_path_factory.mktemp("whole") / "run")


def test_the_run_that_is_compared_learns_something(whole: Path) -> None:
    """Without advantages that differ from 0 an optimizer state or a buffer could be lost and nobody would see."""
    rows = [row for row in read_rows(whole / "metrics.jsonl") if row["stage"] == "grpo"]
    assert sum(row["optimizer/grad_norm/last"] > 1e-3 for row in rows) >= STEPS - 4
    assert rows[-1]["data/epoch/last"] > 1.5


def test_two_runs_of_one_seed_are_the_same(model: Path, whole: Path, tmp_path: Path) -> None:
    """Also of a process that hashes, and would draw, otherwise."""
    done = rhythm(*words(model, tmp_path / "again"), PYTHONHASHSEED="7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_run(tmp_path / "again", whole)


def test_another_seed_is_another_run(model: Path, whole: Path, tmp_path: Path) -> None:
    other = train(model, tmp_path / "other", "seed=1", "stages.grpo.trainer.steps=1")
    first = next(row for row in read_rows(other / "metrics.jsonl"))
    assert first["optimizer/loss/mean"] != read_rows(whole / "metrics.jsonl")[0]["optimizer/loss/mean"]


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        (signal.SIGINT, SFT_STEPS + 14),  # in the second epoch
        (signal.SIGKILL, SFT_STEPS + 8),  # back to a checkpoint between a generation and its last use
        (signal.SIGTERM, SFT_STEPS - 2),  # while the warm-up runs
    ],
)
def test_resumed_is_never_stopped(model: Path, whole: Path, tmp_path: Path, how: signal.Signals, rows: int) -> None:
    path = tmp_path / "run"
    process = start(*words(model, path))
    wait_for_rows(path / "metrics.jsonl", rows, process)
    os.killpg(process.pid, how)
    out, _ = process.communicate(timeout=120)
    assert len(read_rows(path / "metrics.jsonl")) < SFT_STEPS + STEPS
    if how is not signal.SIGKILL:
        assert process.returncode == 130 and f"rhythm train --resume --run-dir {path}" in out
        assert "Traceback" not in out
        assert (path / "report.html").is_file()
    done = rhythm("train", "--resume", "--run-dir", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "from checkpoint-" in done.stdout
    assert_same_run(path, whole)
    assert json.loads((path / "environment.json").read_text(encoding="utf-8"))["attempts"]


def test_a_run_that_lacks_only_its_export_trains_no_further(whole: Path, tmp_path: Path) -> None:
    """As after a kill between the last checkpoint and the final folder."""
    path = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(path / "checkpoints" / "grpo" / "final")
    done = rhythm("train", "--resume", "--run-dir", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_run(path, whole)


def test_a_finished_run_resumes_to_nothing(whole: Path) -> None:
    before = (whole / "metrics.jsonl").read_bytes()
    attempts = (whole / "environment.json").read_bytes()
    done = rhythm("train", "--resume", "--run-dir", whole)
    assert "the run has finished; report: " in done.stdout
    assert (whole / "environment.json").read_bytes() == attempts
    assert done.returncode == 0, done.stdout + done.stderr
    assert (whole / "metrics.jsonl").read_bytes() == before


def test_a_run_that_is_being_written_is_left_alone(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = start(*words(model, path, "stages.sft.trainer.steps=100000"))
    wait_for_rows(path / "metrics.jsonl", 1, process)
    second = rhythm("train", "--resume", "--run-dir", path)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    assert second.returncode == 2 and "another process is writing there" in second.stderr


PPO = (
    "stages.ppo.trainer.steps=12",
    "stages.ppo.trainer.prompts_per_step=16",
    "stages.ppo.trainer.micro_batch=8",
    "stages.ppo.trainer.num_iterations=2",
    "stages.ppo.trainer.max_completion_length=48",
    "stages.ppo.trainer.kl={weight: 0.1, target: 1.0}",
)


def test_a_killed_ppo_run_is_the_run_that_never_stopped(model: Path, tmp_path: Path) -> None:
    """With its critic, and the weight of its KL, between a generation and its last use."""
    sft = (change for change in RECIPE if not change.startswith("stages.grpo"))
    changes = overrides(*sft, f"model.name={model}", "telemetry.wandb.mode=disabled", *PPO)
    train = ["train", "quickstart-ppo", *changes, "--run-dir"]
    done = rhythm(*train, tmp_path / "whole")
    assert done.returncode == 0, done.stdout + done.stderr
    path = tmp_path / "run"
    process = start(*train, path)
    wait_for_rows(path / "metrics.jsonl", SFT_STEPS + 5, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    done = rhythm("train", "--resume", "--run-dir", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming ppo from checkpoint-3" in done.stdout
    rows = [read_rows(folder / "metrics.jsonl") for folder in (path, tmp_path / "whole")]
    assert without_times(rows[0]) == without_times(rows[1])
    assert [row["policy/kl_weight/last"] for row in rows[0] if "policy/kl_weight/last" in row][-1] != 0.1
    final = Path("checkpoints") / "ppo" / "final"
    for file in (final / "model.safetensors", final / "critic" / "critic.safetensors"):
        ours, theirs = load_file(path / file), load_file(tmp_path / "whole" / file)
        assert theirs and all(ours[name].equal(theirs[name]) for name in theirs)
