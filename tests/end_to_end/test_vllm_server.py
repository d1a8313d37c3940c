"""A job whose second node serves: training waits for the server, and neither outlives the other.

The server is a stand-in that answers as vLLM's does when it is asked how it is; training takes its rollouts from
transformers, since vLLM's own would want a GPU.
"""

import os
import shlex
import signal
import socket
import sys
import time
from pathlib import Path

from reference import small
from reference.slurm import Slurm, log_of, wait_for_rows

from rl.launch.script import render
from rl.recipe import dump, load
from rl.telemetry.jsonl import read_rows
from rl.telemetry.record import RunDirectory

HANGS = "rewards.parts.length={reward: 'reference.dying:Hangs', options: {after: 60}}"
LONG = "stages.grpo.trainer.steps=100000"


def submit(cluster: Slurm, path: Path, *changes: str, attempts: int = 1, **said_to_server: str) -> str:
    """Submit a run with a server beside it, and return the job's number."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said_to_server["VLLM_FOLDER"] = str(path)
    setup = [f"export {name}={shlex.quote(value)}" for name, value in said_to_server.items()]
    recipe = load("quickstart", [*small.RECIPE, *changes, "cluster.slurm.time=10"])
    RunDirectory.prepare(path, dump(recipe))
    (path / "logs").mkdir()
    vllm = recipe.cluster.vllm.model_copy(update={"mode": "server", "port": port, "startup_minutes": 1})
    served = recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update={"vllm": vllm})})
    slurm = recipe.cluster.slurm.model_copy(update={"attempts": attempts, "setup": setup})
    script = render(served, slurm, "served", [path])
    theirs = shlex.quote(str(Path(sys.executable).with_name("vllm")))
    assert theirs in script
    ours = shlex.join([sys.executable, str(small.TESTS / "reference" / "vllm_stand_in.py")])
    (path / "script").write_text(script.replace(theirs, ours), encoding="utf-8")
    return cluster.run("sbatch", "--parsable", f"--output={path}/slurm.log", path / "script")


def test_training_waits_for_the_server_which_outlives_a_save(cluster: Slurm, tmp_path: Path) -> None:
    path = tmp_path / "a run"
    job = submit(cluster, path, attempts=2, VLLM_STARTS_IN="3")
    wait_for_rows(cluster, job, path, small.SFT_STEPS + 4)
    said = log_of(path)
    assert said.index("the vLLM server answers at http://127.0.0.1:") < said.index("run directory:")
    cluster.run("scancel", "--signal=USR1", job)  # as Slurm does before the time limit
    asked = time.monotonic()
    while cluster.job(job)["Restarts"] == "0":
        assert time.monotonic() - asked < 60, log_of(path)
        time.sleep(0.05)
    print(f"requeued after {time.monotonic() - asked:.1f} s")
    said = log_of(path)
    assert "stopped (SIGUSR1 in step" in said and "server ended" not in said
    assert cluster.wait(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(path, 2)
    assert len(read_rows(path / "metrics.jsonl")) == small.SFT_STEPS + small.STEPS
    assert "serving tiny on" in (path / "logs" / "vllm-2.log").read_text(encoding="utf-8")
    cluster.wait_until_idle()


def test_a_server_that_ends_ends_the_job(cluster: Slurm, tmp_path: Path) -> None:
    path = tmp_path / "run"
    job = submit(cluster, path, LONG)
    wait_for_rows(cluster, job, path, small.SFT_STEPS + 2)
    os.kill(int((path / "vllm.pid").read_text(encoding="utf-8")), signal.SIGKILL)
    assert cluster.wait(job, "FAILED", "COMPLETED", seconds=30) == "FAILED"
    cluster.wait_until_idle()
    assert "the vLLM server ended with" in log_of(path) and "stopped (SIGTERM in step" in log_of(path)


def test_training_that_fails_ends_the_server(cluster: Slurm, tmp_path: Path) -> None:
    path = tmp_path / "run"
    job = submit(
        cluster,
        path,
        "guard.step_minutes=0.1",
        HANGS,
    )
    assert cluster.wait(job, "FAILED", "COMPLETED") == "FAILED"
    cluster.wait_until_idle()
    assert "no step has ended for 6 s" in log_of(path) and "server ended" not in log_of(path)


def test_a_server_that_never_answers_ends_the_job(cluster: Slurm, tmp_path: Path) -> None:
    path = tmp_path / "run"
    job = submit(cluster, path, VLLM_FAILS="1")
    assert cluster.wait(job, "FAILED", "COMPLETED") == "FAILED"
    cluster.wait_until_idle()
    assert "the vLLM server ended with 1 before it answered; see logs/vllm-1.log" in log_of(path)
    assert (path / "logs" / "vllm-1.log").read_text(encoding="utf-8") == "no GPU is free\n"
    assert not read_rows(path / "metrics.jsonl")
