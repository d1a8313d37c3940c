"""Run `rhythm` again and again from one process that has imported everything, and kill it as a moment comes.

What is killed is a process of its own, by SIGKILL, as a lost machine would; only its start is spared. Prints a line of
JSON: how many kills hit, by what they waited for.

    python tests/reference/forked.py RUN KILLS SEED
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import rl.run  # noqa: F401 - what takes long to import
from rl.cli import main

MOMENTS = ("generating", "stepping", "saving", "logging")


def attempt(run: Path) -> int:
    """Fork a process that goes on with the run, and return its number."""
    child = os.fork()
    if child:
        return child
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    sys.argv = ["rhythm", "train", "--resume", "--run-dir", str(run)]
    try:
        main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    os._exit(0)


def wait_until(ready: Callable[[], bool], child: int) -> bool:
    """Wait until something is so; False where the child ended before."""
    while not ready():
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return False
        time.sleep(0.0005)
    return True


def size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def kill(run: Path, moment: str, chance: random.Random) -> bool:
    """Start an attempt and kill it at a moment; False where it ended before that came."""
    metrics, before = run / "metrics.jsonl", 0
    child = attempt(run)
    began = time.monotonic()
    # The attempt first takes rows back; after that it writes.
    if not wait_until(lambda: (run / "train.log").is_file() and time.monotonic() - began > 0.3, child):
        return False
    before = size(metrics)
    saving = [run / "checkpoints" / stage / ".saving" for stage in ("sft", "grpo")]
    ready = {
        "generating": lambda: size(metrics) > before,
        "stepping": lambda: size(metrics) > before,
        "saving": lambda: any(folder.is_dir() and any(folder.iterdir()) for folder in saving),
        "logging": lambda: size(metrics) > before,
    }[moment]
    if not wait_until(ready, child):
        return False
    time.sleep(
        {
            "generating": 0.02 + 0.1 * chance.random(),
            "stepping": 0.5 * chance.random(),
            "saving": 0.03 * chance.random(),
            "logging": 0.002 * chance.random(),
        }[moment]
    )
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def run_to_the_end(run: Path, kills: int, seed: int) -> Counter:
    """Kill that many attempts, and then let one end."""
    chance, hits = random.Random(seed), Counter()
    while hits.total() < kills:
        moment = MOMENTS[hits.total() % len(MOMENTS)]
        if not kill(run, moment, chance):
            break
        hits[moment] += 1
    last = attempt(run)
    assert os.waitstatus_to_exitcode(os.waitpid(last, 0)[1]) == 0
    return hits


if __name__ == "__main__":
    print(json.dumps(run_to_the_end(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
