"""One command for every size: one process and two, DDP and ZeRO, however they are started, are one run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from reference.command import SHORT, overrides, rhythm, start, wait_for_rows
from reference.launched import TORCHRUN
from safetensors.torch import load_file

from rl.telemetry.jsonl import read_rows

# Greedy, so that what is sampled is no matter of which process samples it; each prompt's advantages come from a critic.
STEPS = 6
RECIPE = (
    "stages.sft.trainer.steps=20",
    "stages.sft.trainer.learning_rate=3e-3",
    "stages.sft.data.size=320",  # two epochs
    "stages.sft.trainer.order=shuffled",
    "stages.sft.trainer.batch=32",
    "stages.sft.trainer.micro_batch=16",
    f"stages.ppo.trainer.steps={STEPS}",
    "stages.ppo.trainer.learning_rate=1e-4",
    "stages.ppo.trainer.prompts_per_step=16",
    "stages.ppo.trainer.micro_batch=4",
    "stages.ppo.trainer.num_iterations=2",
    "stages.ppo.trainer.max_completion_length=24",
    "stages.ppo.trainer.trl.top_k=1",
    "stages.ppo.trainer.kl.weight=0.1",
    "rewards.parts={length_target: {weight: 0.1}, answer: null, format: null}",
    "effort={kind: tokens, range: [4, 40]}",
    "credit.horizon=[2, 20]",
    "credit.exclude_sinks=false",
    "checkpoints.every=3",
    "data.size=64",
    "telemetry.wandb.mode=disabled",
)
TWO = (*TORCHRUN, "--nproc-per-node", "2")
ACCELERATE = ("-m", "accelerate.commands.launch", "--use_deepspeed", "--num_processes", "2", "--num_machines", "1")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alone") / "run"
    done = rhythm("train", "quickstart-ppo", "--run-dir", path, *overrides(*RECIPE))
    assert done.returncode == 0, done.stderr
    return path


def launched(launcher: tuple[str, ...], path: Path, *changes: str) -> Path:
    """Run the recipe as two processes, as a launcher starts them, or rhythm itself."""
    words = ["train", "quickstart-ppo", "--run-dir", str(path), *overrides(*RECIPE, *changes)]
    command = [sys.executable, *launcher, "-m", "rl", *words]
    compiled = path.parent / "extensions"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(compiled)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert not compiled.exists()  # where one that is killed would leave a lock for all that come after
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe as two processes that rhythm started."""
    return launched((), tmp_path_factory.mktemp("both") / "run", "cluster.processes=2")


def test_two_processes_are_one(alone: Path, both: Path) -> None:
    assert_as_one(both, alone, 1e-4)


@pytest.mark.parametrize(
    ("launcher", "change"),
    [(TWO, "cluster.zero=2"), (ACCELERATE, "cluster.zero=3")],
    ids=["torchrun-zero2", "accelerate-zero3"],
)
def test_two_processes_under_zero_are_one(alone: Path, tmp_path: Path, launcher: tuple[str, ...], change: str) -> None:
    assert_as_one(launched(launcher, tmp_path / "run", change), alone, 1e-3)


def assert_as_one(path: Path, alone: Path, tolerance: float) -> None:
    """Hold a run of two processes to be that of one."""
    assert json.loads((path / "environment.json").read_text(encoding="utf-8"))["processes"] == 2
    ours, theirs = (read_rows(folder / "metrics.jsonl") for folder in (path, alone))
    assert len(ours) == len(theirs) == 20 + STEPS
    compared = ("optimizer/grad_norm/last", "reward/total/mean", "rollout/length/mean", "critic/value/mean")
    compared += ("critic/loss/mean", "policy/kl/mean", "credit/weight/mean", "data/tokens/total")
    for left, right in zip(ours, theirs, strict=True):
        for name in compared:
            one, other = left.get(name), right.get(name)
            assert (one is None) == (other is None), (left["step"], name)
            assert one is None or one == pytest.approx(other, rel=tolerance, abs=tolerance), (left["step"], name)
    assert any(row["optimizer/grad_norm/last"] > 0.01 for row in theirs[20:])
    final = Path("checkpoints/ppo/final/model.safetensors")
    left, right = load_file(path / final), load_file(alone / final)
    moved = load_file(alone / "checkpoints/sft/final/model.safetensors")
    for name in right:
        far = (right[name] - moved[name]).abs().max()
        assert (left[name] - right[name]).abs().max() <= max(20 * tolerance * far, 1e-6), name


def test_two_processes_stop_together_and_go_on(both: Path, tmp_path: Path) -> None:
    """Ctrl-C in a second epoch and in the next stage; at the end they are the run that never stopped."""
    path = tmp_path / "run"
    process = start("train", "quickstart-ppo", "--run-dir", path, *overrides(*RECIPE, "cluster.processes=2"))
    for rows in (14, 21):
        wait_for_rows(path / "metrics.jsonl", rows, process)
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 130 and out.count("rhythm train --resume") == 1, out
        if rows == 14:
            process = start("train", "--resume", "--run-dir", path)
    done = rhythm("train", "--resume", "--run-dir", path)
    assert done.returncode == 0, done.stderr
    ours, theirs = (load_file(run / "checkpoints/ppo/final/model.safetensors") for run in (path, both))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_a_fault_that_the_main_process_finds_is_no_crash(alone: Path, tmp_path: Path) -> None:
    """A checkpoint of one process is not taken up by two; the second hears nothing but that."""
    path = tmp_path / "run"
    shutil.copytree(alone, path)
    shutil.rmtree(path / "checkpoints" / "ppo" / "final")
    command = [sys.executable, *TWO, "-m", "rl", "train", "--resume", "--run-dir", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and said.count("was written by 1 process, and cannot be taken up by 2") == 1, said
    attempt = json.loads((path / "environment.json").read_text(encoding="utf-8"))["attempts"][-1]
    assert attempt["ended"]["how"] == "refused"
    # torchrun may end the second before it has swept the file that it opened for its stacks
    assert not any(file.stat().st_size for file in path.glob("logs/stacks*"))


def test_processes_whose_parent_is_gone_save_and_end(tmp_path: Path) -> None:
    path = tmp_path / "run"
    changes = (*RECIPE, "cluster.processes=2", "stages.ppo.trainer.steps=1000", "checkpoints.every=1000")
    process = start("train", "quickstart-ppo", "--run-dir", path, *overrides(*changes))
    wait_for_rows(path / "metrics.jsonl", 21, process)
    process.kill()
    process.communicate(timeout=60)  # until the last of them has closed what it prints to
    rows = read_rows(path / "metrics.jsonl")
    assert (path / f"checkpoints/ppo/checkpoint-{rows[-1]['step']}/manifest.json").is_file()
    ended = json.loads((path / "environment.json").read_text(encoding="utf-8"))["ended"]
    assert ended["how"] == "interrupted" and "SIGTERM in step" in ended["reason"]


def test_what_a_launcher_gets_wrong_is_said(tmp_path: Path) -> None:
    words = ["train", "quickstart", "--run-dir", tmp_path / "run", *overrides(*SHORT)]
    two_nodes = rhythm(*words, "--set", "cluster.nodes=2", "--set", "cluster.processes=1")
    assert two_nodes.returncode == 2 and "rhythm launch, or torchrun or srun" in two_nodes.stderr
    half = rhythm(*words, RANK="0", WORLD_SIZE="2")
    assert half.returncode == 2 and "LOCAL_RANK, MASTER_ADDR, MASTER_PORT" in half.stderr
    uneven = rhythm(*words, "--set", "cluster.processes=3")
    assert uneven.returncode == 2 and "cannot be shared by 3 processes" in uneven.stderr
    assert not (tmp_path / "run").exists()
