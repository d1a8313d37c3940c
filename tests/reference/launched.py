"""Run a reference script as one process or as several, each forked from one that has imported what they import."""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing import start_processes  # pyright: ignore

from rl.processes.place import free_port

HERE = Path(__file__).resolve().parent
# By its address: a machine's own name need not resolve.
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1")

multiprocessing.set_forkserver_preload(["rl.run", "rl.trainers.ppo", "deepspeed"])


def run(folder: Path, how: str, ranks: int, script: str = "ranks.py", *words: str) -> list[dict[str, Any]]:
    """Train in that many processes and return what each wrote down; where one fails, the others are ended."""
    folder.mkdir()
    environment = {**os.environ, "DS_ACCELERATOR": "cpu"}
    environment |= {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    argv = [str(HERE / script), str(folder), how, *words]
    start_processes(_be, (argv, environment), nprocs=ranks, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(ranks)]


def _be(rank: int, argv: list[str], environment: dict[str, str]) -> None:
    """Be the script, in a process of its own."""
    os.environ.clear()
    os.environ.update(environment)
    if environment["WORLD_SIZE"] != "1":
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")
