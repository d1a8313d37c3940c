"""Run a reference script as one process or as several."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
TORCHRUN = (
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--local-addr",
    "127.0.0.1",
)  # the host's name may not resolve


def run(folder: Path, how: str, ranks: int, script: str = "ranks.py", *words: str) -> list[dict[str, Any]]:
    """Train in that many processes and return what each wrote down."""
    folder.mkdir()
    launcher = [*TORCHRUN, "--nproc-per-node", str(ranks)] if ranks > 1 else []
    environment = {**os.environ, "DS_ACCELERATOR": "cpu"}
    command = [sys.executable, *launcher, str(HERE / script), str(folder), how, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(ranks)]
