"""Run `rhythm` from a process that has imported everything: each command is a fork of it, only its start is spared.

python tests/reference/warm.py SOCKET
"""

import atexit
import ctypes
import importlib
import json
import os
import random
import signal
import socket
import sys
import traceback
from pathlib import Path

import numpy
import torch

NAMES = (
    "rl.run",
    "rl.distill.distill",
    "rl.analysis.analyze",
    "rl.evaluation.run",
    "rl.sizing.plan",
    "rl.launch.status",
    "rl.report",
    "reasoning_gym",
    "math_verify",
    "wandb",
)


def serve(place: str) -> None:
    """Run one command after the other until the socket is gone."""
    for name in NAMES:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                message, files, _, _ = socket.recv_fds(connection, 1 << 20, 2)
                child = os.fork()
                if child == 0:
                    listener.close()
                    run(json.loads(message), files)
                for file in files:
                    os.close(file)
                _, status = os.waitpid(child, 0)
                connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def run(request: dict, files: list[int]) -> None:
    """Be the command, and end."""
    for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files]):
        os.dup2(file, number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[1:1] = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.argv = ["rhythm", *request["words"]]
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):  # what starts anew starts anywhere
        seed(int.from_bytes(os.urandom(4)))
    code = 1
    try:
        from rl.cli import main

        main()
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: when whoever asks is gone, so is this
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    serve(sys.argv[1])
