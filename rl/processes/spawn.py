"""Start the processes of a run on this machine and look after them: what torchrun does, without its 30 seconds.

A signal is handed on to all processes, which then have as long as their step takes. Where one dies, the others end by
themselves (see liveness); whoever does not is killed.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from rl.endings import FAILED, INTERRUPTED, SIGNALS
from rl.processes.early import EarlySignal
from rl.processes.place import free_port

GRACE_SECONDS = 25.0  # for the others, once a process has failed
POLL_SECONDS = 0.1
PARENT = "RHYTHM_PARENT"  # the process that spawned this one
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def spawn(words: Sequence[str], count: int, early: EarlySignal | None = None) -> int:
    """Run `rhythm` with words as count processes and return the exit code: of the first that failed, or 0.

    Where a signal comes before all have started, as `early` may have heard, they end at once: nothing has begun.
    """
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    common |= {"LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, "-P", "-m", "rl", *words]
    children: list[subprocess.Popen[bytes]] = []
    stopped = early is not None and early.has_come

    def hand_on(number: int, _: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in SIGNALS}
    try:
        for rank in range(count):
            environment = os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), PARENT: str(os.getpid())}
            # Sessions of their own: Ctrl-C comes from here alone, and once.
            child = subprocess.Popen(command, env=environment, start_new_session=True)
            children.append(child)
            if stopped:
                return INTERRUPTED
        return _wait(children)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_parent() -> None:
    """Have Linux ask this process to stop, and save, once the one that spawned it is gone, if one has."""
    parent = os.environ.pop(PARENT, None)
    if parent is not None and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if str(os.getppid()) != parent:  # it was gone before
            raise SystemExit(128 + signal.SIGTERM)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait until all have ended, or for a while after one has failed, and return the first failure's exit code.

    Where that one was killed, it is the code that the others ended with on its account.
    """
    failed, deadline = 0, float("inf")
    while True:
        codes = [child.poll() for child in children]
        if not failed and (failed := next((code for code in codes if code), 0)):
            deadline = time.monotonic() + GRACE_SECONDS
        if None not in codes or time.monotonic() >= deadline:
            return failed if failed >= 0 else next((code for code in codes if code and code > 0), FAILED)
        time.sleep(POLL_SECONDS)
