"""Slurm's word that time runs out may come while a run still loads, when nobody listens: it is kept for later."""

import signal
from types import FrameType


class EarlySignal:
    """Remember that SIGUSR1 has come, which would end a process that does not handle it."""

    def __init__(self) -> None:
        self.has_come = False
        signal.signal(signal.SIGUSR1, self._remember)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.has_come = True
