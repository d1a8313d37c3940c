"""Ctrl-C, SIGTERM, SIGUSR1 and a lost terminal stop a run at the end of its step, with a checkpoint."""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rl.endings import SIGNALS
from rl.processes.early import EarlySignal


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Say that a signal stopped the run, and where."""


class Interrupt(TrainerCallback):
    """Take over the signals inside its `with` block; as a trainer's callback, save and stop at the next step boundary.

    The processes of a run may hear a signal in different steps, or only one of them: `agree` says whether any has. A
    second Ctrl-C stops at once, with KeyboardInterrupt; a second SIGTERM, as Slurm sends it, does not.
    """

    def __init__(
        self, agree: Callable[[bool], bool] = bool, speaks: bool = True, early: EarlySignal | None = None
    ) -> None:
        self.agree, self.speaks, self._early = agree, speaks, early
        self._requested: signal.Signals | None = None
        self._agreed = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._request) for number in SIGNALS}
        if self._early is not None and self._early.has_come:
            self._request(signal.SIGUSR1, None)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, _: FrameType | None) -> None:
        if self._requested is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self._requested = signal.Signals(number)
        if self.speaks:  # print is not reentrant
            more = b"; Ctrl-C once more stops at once" if number == signal.SIGINT else b""
            os.write(2, b"\nstopping after this step, with a checkpoint" + more + b"\n")

    @property
    def has_come(self) -> bool:
        """Say whether a signal has come to this process."""
        return self._requested is not None

    def _is_wanted(self) -> bool:
        self._agreed = self._agreed or self.agree(self._requested is not None)
        return self._agreed

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop here if asked to."""
        if self._is_wanted():
            control.should_save = control.should_training_stop = True

    def check(self, where: str) -> None:
        """Raise Interrupted where a signal has come, to whichever process."""
        if self._is_wanted():
            name = self._requested.name if self._requested is not None else "a signal to another process"
            raise Interrupted(f"{name} {where}")
