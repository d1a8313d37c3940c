"""A wandb that cannot be reached, or dies, costs a run nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from reference import small
from reference.command import rhythm, start, wait_for_rows

from rl.telemetry.jsonl import read_rows

ALL = small.SFT_STEPS + small.STEPS


def test_wandb_out_of_reach(tmp_path: Path) -> None:
    """Nobody listens on the discard port."""
    path = tmp_path / "run"
    words = small.words(path, "telemetry.wandb.mode=online")
    key = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": ""}
    done = rhythm(*words, PYTHONPATH=str(small.TESTS), **key)
    assert done.returncode == 0, done.stderr
    assert "wandb failed and is off" in done.stdout or "wandb has not finished" in done.stdout
    assert len(read_rows(path / "metrics.jsonl")) == ALL


def test_wandb_killed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    words = small.words(path, "telemetry.wandb.mode=offline", "stages.grpo.trainer.steps=80")
    process = start(*words, PYTHONPATH=str(small.TESTS))
    killed: list[int] = []
    while not killed and process.poll() is None:  # it starts beside the run
        killed = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _is_wandb_of(entry, process.pid)]
    for number in killed:
        os.kill(number, signal.SIGKILL)
    out, _ = process.communicate(timeout=180)
    assert killed and process.returncode == 0, out
    assert len(read_rows(path / "metrics.jsonl")) == small.SFT_STEPS + 80


def _is_wandb_of(entry: Path, run: int) -> bool:
    """Say whether a process is the service that wandb started for a run."""
    try:
        words = (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(b"wandb-core") and str(run).encode() in words


SERVER = """
import socket, time
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    taken = []
    while True:
        taken.append(listener.accept())
"""


def test_a_wandb_that_never_answers_and_then_dies(tmp_path: Path) -> None:
    path = tmp_path / "run"
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    key = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": f"http://127.0.0.1:{server.stdout.readline().strip()}"}
    words = small.words(path, "telemetry.wandb.mode=online")
    process = start(*words, PYTHONPATH=str(small.TESTS), **key, WANDB_MODE="")
    wait_for_rows(path / "metrics.jsonl", small.SFT_STEPS + 4, process)
    server.kill()
    server.wait()
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    assert len(read_rows(path / "metrics.jsonl")) == ALL
