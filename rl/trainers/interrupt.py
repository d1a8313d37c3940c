"""Ctrl-C and SIGTERM stop a run at the end of its step, with a checkpoint."""

import signal
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt(TrainerCallback):
    """Ask the trainer to save and stop at the next step boundary; a second signal stops at once."""

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def _request(self, number: int, _: FrameType | None) -> None:
        if self.requested is not None:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number)
        print("\nStopping after this step, with a checkpoint; once more stops at once.", flush=True)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take over the signals while the trainer runs."""
        self._before = {number: signal.signal(number, self._request) for number in SIGNALS}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop here if asked to."""
        if self.requested is not None:
            control.should_save = True
            control.should_training_stop = True

    def release(self) -> None:
        """Give the signals back, however the training ended."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
