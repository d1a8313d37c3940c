"""Ctrl-C, SIGTERM and a lost terminal stop a run at the end of its step, with a checkpoint."""

import os
import signal
from types import FrameType
from typing import Any, Self

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Say that a signal stopped the run, and where."""


class Interrupt(TrainerCallback):
    """Take over the signals inside its `with` block; as a trainer's callback, save and stop at the next step boundary.

    A second signal stops at once, with KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._requested: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._request) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, _: FrameType | None) -> None:
        if self._requested is not None:
            raise KeyboardInterrupt
        self._requested = signal.Signals(number)
        os.write(
            2, b"\nstopping after this step, with a checkpoint; once more stops at once\n"
        )  # print is not reentrant

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop here if asked to."""
        if self._requested is not None:
            control.should_save = control.should_training_stop = True

    def check(self, where: str) -> None:
        """Raise Interrupted where a signal has come."""
        if self._requested is not None:
            raise Interrupted(f"{self._requested.name} {where}")
