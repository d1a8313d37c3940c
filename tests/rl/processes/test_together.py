"""Three real processes: what they agree on, and that none outlives another without a word."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rl.processes.place import free_port
from rl.processes.spawn import spawn

SCRIPT = Path(__file__).resolve().parents[2] / "reference" / "together.py"


def run(how: str) -> list[tuple[int, str]]:
    """Return each process's exit code and what it said; gloo would warn where the machine's name does not resolve."""
    common = {"WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    common["TORCH_CPP_LOG_LEVEL"] = "ERROR"
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, how],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(3)
    ]
    try:
        said = [process.communicate(timeout=60)[0].strip() for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def test_they_agree() -> None:
    assert [code for code, _ in run("agree")] == [0, 0, 0]


def test_a_fault_that_the_main_process_finds_ends_all_with_its_words_once() -> None:
    assert run("fault") == [(0, "the path is wrong"), (2, ""), (2, "")]


def test_a_fault_that_all_are_told_of_is_no_loss() -> None:
    """Whoever is slow to hear of it does not take the main process for dead."""
    (code, said), *others = run("told")
    assert code == 1 and "the path is wrong" in said
    assert others == [(0, "calm"), (0, "calm")]


@pytest.mark.parametrize(
    ("how", "code", "first", "last"),
    [
        ("part", 0, "parted", "parted"),
        ("die", -signal.SIGKILL, "lost: process 1 has died", "lost: process 0 failed: process 1 has died"),
        ("fail", 1, "lost: process 1 failed: no memory", "lost: process 0 failed: process 1 failed: no memory"),
    ],
)
def test_the_others_hear_of_an_end(how: str, code: int, first: str, last: str) -> None:
    ended = run(how)
    assert ended[1][0] == code
    assert [ended[0][1].splitlines()[-1], ended[2][1].splitlines()[-1]] == [first, last]
    assert {ended[0][0], ended[2][0]} == ({0} if how == "part" else {7})


def test_spawned_processes_end_with_the_first_failure() -> None:
    assert spawn(["--version"], 2) == 0
    assert spawn(["trian"], 2) == 2
