"""Run a reference script as one process or as several, each forked from one that has imported what they import."""

import functools
import multiprocessing
import os
import runpy
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch

from rl.processes.place import free_port

HERE = Path(__file__).resolve().parent
SECONDS = 300
# By its address: a machine's own name need not resolve.
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1")


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rl.run", "rl.trainers.ppo", "deepspeed"])
    return context


def run(folder: Path, how: str, ranks: int, script: str = "ranks.py", *words: str) -> list[dict[str, Any]]:
    """Train in that many processes and return what each wrote down."""
    folder.mkdir()
    common = {**os.environ, "DS_ACCELERATOR": "cpu", "WORLD_SIZE": str(ranks)}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    places = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)] if ranks > 1 else [{}]
    logs = [folder / f"{rank}.log" for rank in range(ranks)]
    argv = [str(HERE / script), str(folder), how, *words]
    own = [common | place for place in places]
    processes = [_context().Process(target=_be, args=(argv, *one)) for one in zip(own, logs, strict=True)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        process.kill()
        process.join()
    said = "\n".join(log.read_text(encoding="utf-8")[-4000:] for log in logs)
    assert [process.exitcode for process in processes] == [0] * ranks, said
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(ranks)]


def _be(argv: list[str], environment: dict[str, str], log: Path) -> None:
    """Be the script, in a process of its own."""
    with log.open("w", encoding="utf-8") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")
