"""No run holds its machines in silence: where no step ends, or a process has died, all say where they stand and end."""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

from rl.endings import FAILED

GRACE_SECONDS = 10.0  # for the training's thread, to end by itself with words of its own
BACKSTOP_SECONDS = 30.0  # after which the C library ends a process whose Python is stuck


class Watchdog:
    """Expect a `beat` within `seconds` once armed; where none comes, write all threads' stacks to a file and end.

    `say` prints, from another thread than the training's; `tell` lets the other processes know. 0 seconds: never. The
    clock is the monotonic one, which nobody sets back.
    """

    def __init__(self, seconds: float, *, say: Callable[[str], None], tell: Callable[[str], None]) -> None:
        self.seconds, self.say, self.tell = seconds, say, tell
        self.stacks: Path | None = None
        self.record: Callable[[str], None] | None = None
        self._beat = time.monotonic()
        self._over = threading.Event()
        self._ending = threading.Lock()
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._file is not None and self.stacks is not None:
            faulthandler.cancel_dump_traceback_later()
            self._file.close()
            with contextlib.suppress(OSError):
                if not self.stacks.stat().st_size:
                    self.stacks.unlink()
                    self.stacks.parent.rmdir()  # if it is empty

    def arm(self, stacks: Path, record: Callable[[str], None] | None = None) -> None:
        """Start to watch, have stacks written to a file, and `record` called with the reason of an end."""
        self.record = record
        stacks.parent.mkdir(exist_ok=True)
        self.stacks = stacks
        if self.seconds:
            self._file = stacks.open("a", encoding="utf-8")
            self.beat()
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def beat(self) -> None:
        """Say that the run goes on."""
        self._beat = time.monotonic()
        if self._file is not None and not self._over.is_set():
            faulthandler.dump_traceback_later(self.seconds + BACKSTOP_SECONDS, file=self._file, exit=True)

    def _watch(self) -> None:
        while not self._over.wait(max(0.05, self._beat + self.seconds - time.monotonic())):
            if time.monotonic() - self._beat >= self.seconds:
                self.end(f"no step has ended for {_duration(self.seconds)} (guard.step_minutes)", grace=0.0)

    def end(self, reason: str, grace: float = GRACE_SECONDS) -> None:
        """Write down where every thread stands, let the training's thread end by itself within grace, or end it."""
        if self._over.is_set() or not self._ending.acquire(blocking=False):
            return
        where = f"; where every thread stood is in {self.stacks}" if self._dump(reason) else ""
        self.say(reason + where)
        if self.record is not None:
            self.record(reason)
        self.tell(reason)
        if not self._over.wait(grace):
            sys.stderr.flush()
            os._exit(FAILED)

    def _dump(self, reason: str) -> bool:
        if self.stacks is None:
            return False
        with contextlib.suppress(OSError), self.stacks.open("a", encoding="utf-8") as file:
            file.write(f"{reason}\n\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
            return True
        return False


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} s"
