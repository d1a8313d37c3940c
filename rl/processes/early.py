"""Slurm's word to stop may come while a run still loads, when nobody listens: it is kept for later."""

import os
import signal
from types import FrameType


class EarlySignal:
    """Remember that SIGUSR1 or, in a job of Slurm's, SIGTERM has come, which would end a process at once."""

    def __init__(self) -> None:
        self.has_come = False
        for number in (signal.SIGUSR1, *([signal.SIGTERM] if "SLURM_JOB_ID" in os.environ else [])):
            signal.signal(number, self._remember)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.has_come = True
