"""Whole runs through a real Slurm: one controller and two nodes on this machine, real sbatch, srun and scancel."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from reference import small
from reference.command import assert_same_run, overrides, rhythm
from reference.slurm import Slurm, launch, log_of, wait_for_rows

from rl import checkpoints
from rl.telemetry.jsonl import read_rows

SFT_STEPS, STEPS = small.SFT_STEPS, 12
RECIPE = (
    *small.RECIPE,
    f"stages.grpo.trainer.steps={STEPS}",
    "stages.grpo.trainer.micro_batch=4",
    "rewards.parts={length_target: {}, answer: null, format: null}",
    "effort={kind: tokens, range: [4, 40]}",
    "telemetry.samples.every=1",
)
TWO_NODES = ("cluster.nodes=2", "cluster.processes=1")
LONG = "stages.grpo.trainer.steps=100000"


def job_of(path: Path) -> str:
    return json.loads((path / "launch" / "launch.json").read_text(encoding="utf-8"))["job"]


def processes_of(path: Path) -> list[int]:
    """Return the training processes of a run, by rank."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = dict(line.partition(b"=")[::2] for line in (entry / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        if words[0].endswith(b"python") and str(path).encode() in words:
            found[int(environment.get(b"SLURM_PROCID", b"-1"))] = int(entry.name)
    return [found[rank] for rank in sorted(found)]


@pytest.fixture(scope="module")
def whole(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two nodes under ZeRO-3 that nothing disturbed."""
    path = tmp_path_factory.mktemp("whole") / "a run's folder, with $(touch hostile)"
    job = launch(cluster, path, *RECIPE, *TWO_NODES, "cluster.zero=3")
    assert cluster.wait(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(path)
    return path


def test_two_nodes_run_to_the_end(cluster: Slurm, whole: Path) -> None:
    rows = read_rows(whole / "metrics.jsonl")
    assert [row["step"] for row in rows] == [*range(1, SFT_STEPS + 1), *range(1, STEPS + 1)]
    assert (whole / "report.html").is_file() and not list(Path().glob("hostile"))
    environment = json.loads((whole / "environment.json").read_text(encoding="utf-8"))
    assert environment["processes"] == 2 and environment["ended"]["how"] == "finished"
    said = rhythm("status", whole, **cluster.environment)
    assert said.returncode == 0, said.stderr
    assert "completed on n[1-2]" in said.stdout
    assert f"stage grpo: done, {STEPS} steps" in said.stdout


def test_a_preempted_run_is_the_run_that_was_not(cluster: Slurm, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    job = launch(cluster, path, *RECIPE, *TWO_NODES, "cluster.zero=3")
    wait_for_rows(cluster, job, path, SFT_STEPS + 5)
    cluster.run("scontrol", "requeue", job)
    cluster.wait(job, "PENDING", "REQUEUED")
    assert len(read_rows(path / "metrics.jsonl")) < SFT_STEPS + STEPS
    assert cluster.wait(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(path, 2)
    assert "attempt 2" in log_of(path, 2) and "resuming grpo from checkpoint-" in log_of(path, 2)
    assert_same_run(path, whole)


def test_an_array_of_seeds(cluster: Slurm, tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    words = overrides(*RECIPE, "stages.grpo.trainer.steps=2")
    done = rhythm("launch", "quickstart", "--array", "0-2", "--run-dir", folder, *words, **cluster.environment)
    assert done.returncode == 0, done.stderr
    runs = [folder / f"quickstart-seed{seed}" for seed in range(3)]
    cluster.wait(job_of(runs[0]), "RUNNING")
    assert rhythm("cancel", folder, **cluster.environment).returncode == 0
    for run in runs:
        cluster.wait(job_of(run), "CANCELLED", "COMPLETED")
    cluster.wait_until_idle()
    resume = ("launch", "--resume", "--run-dir", folder)
    again = rhythm(*resume, **cluster.environment)
    assert again.returncode == 0 and "3 runs" in again.stdout, again.stderr
    for run in runs:
        job = job_of(run)
        assert cluster.wait(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(run)
    losses = {read_rows(run / "metrics.jsonl")[0]["optimizer/loss/mean"] for run in runs}
    assert len(losses) == 3
    said = rhythm("status", folder, **cluster.environment)
    assert said.stdout.count("stage grpo: done, 2 steps") == 3
    again = rhythm(*resume, **cluster.environment)
    assert again.returncode == 2 and "has finished" in again.stderr


STUDY = """\
name: pair
recipe: quickstart
shared: {stages: [sft], seed: 0}
seeds: [0]
against: [uniform]
last: 1
arms:
  uniform: {credit: {kind: uniform}}
  random: {credit: {kind: random}}
"""


def test_a_study_is_two_jobs_the_second_behind_the_first(cluster: Slurm, tmp_path: Path) -> None:
    study, folder = tmp_path / "pair.yaml", tmp_path / "out"
    study.write_text(STUDY, encoding="utf-8")
    changes = overrides(*(text for text in RECIPE if not text.startswith("credit")), "stages.grpo.trainer.steps=2")
    words = ("study", study, "--run-dir", folder, *changes)
    done = rhythm(*words, "--slurm", **cluster.environment)
    assert done.returncode == 0 and "1 run\n" in done.stdout and "2 runs\n" in done.stdout, done.stdout + done.stderr
    again = rhythm(*words, "--slurm", **cluster.environment)
    assert again.returncode == 2 and "its job" in again.stderr and "Traceback" not in again.stderr
    runs = [folder / "runs" / f"{arm}-seed0" for arm in ("uniform", "random")]
    for run in (folder / "shared" / "seed0", *runs):
        assert cluster.wait(job_of(run), "COMPLETED", "FAILED") == "COMPLETED", log_of(run)
    cluster.wait_until_idle()
    told = rhythm(*words, **cluster.environment)
    assert told.returncode == 0 and "begins" not in told.stdout, told.stdout + told.stderr
    assert json.loads((folder / "study.json").read_text(encoding="utf-8"))["missing"] == []


def test_a_cancelled_run_leaves_a_checkpoint_to_go_on_from(cluster: Slurm, tmp_path: Path) -> None:
    path = tmp_path / "run"
    job = launch(cluster, path, *RECIPE, *TWO_NODES, "cluster.zero=2", LONG, "checkpoints.every=1000")
    wait_for_rows(cluster, job, path, SFT_STEPS + 2)
    said = rhythm("cancel", path, **cluster.environment)
    assert said.returncode == 0 and "rhythm launch --resume" in said.stdout
    cluster.wait(job, "CANCELLED")
    cluster.wait_until_idle()
    saved = checkpoints.newest(path / "checkpoints" / "grpo", print)
    rows = read_rows(path / "metrics.jsonl")
    assert saved is not None and checkpoints.step_of(saved) == rows[-1]["step"]
    assert cluster.state(job) == "CANCELLED"  # and is not requeued


def test_a_dead_process_frees_both_nodes(cluster: Slurm, tmp_path: Path) -> None:
    path = tmp_path / "run"
    job = launch(cluster, path, *RECIPE, *TWO_NODES, LONG, "cluster.slurm.attempts=1")
    wait_for_rows(cluster, job, path, SFT_STEPS + 2)
    os.kill(processes_of(path)[1], signal.SIGKILL)
    died = time.monotonic()
    assert cluster.wait(job, "FAILED", seconds=30) == "FAILED"
    cluster.wait_until_idle(30 - (time.monotonic() - died))
    print(f"freed after {time.monotonic() - died:.1f} s")


def test_a_run_that_outlives_its_time_limit_is_requeued_and_ends(cluster: Slurm, tmp_path: Path) -> None:
    """Slurm may send its signal up to a minute before it is due; 60 steps take 96 s until its second attempt begins."""
    path, quick = tmp_path / "run", tmp_path / "quick"
    slow = f"rewards.parts.slow={{reward: 'reference.dying:Slow', weight: 0.0, options: {{until: '{quick}'}}}}"
    changes = (slow, "stages.grpo.trainer.steps=60", "cluster.slurm.time=1", "cluster.slurm.signal_seconds=10")
    job = launch(cluster, path, *RECIPE, *changes)
    deadline = time.monotonic() + 240
    while not (path / "logs" / "attempt-2.log").is_file():
        assert time.monotonic() < deadline, log_of(path)
        time.sleep(0.1)
    quick.touch()
    assert "stopped (SIGUSR1 " in log_of(path)
    assert cluster.wait(job, "COMPLETED", "FAILED", "TIMEOUT") == "COMPLETED", log_of(path, 2)
    assert read_rows(path / "metrics.jsonl")[-1]["step"] == 60
