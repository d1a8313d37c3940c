"""Alarms: a collapse of length or entropy, the known failure of credit as pure weighting, is said or stops the run."""

import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# What can be watched, as TRL logs it.
WATCHED = {"length": "completions/mean_length", "entropy": "entropy"}


class Alarmed(Exception):  # noqa: N818 - it is no error
    """Say which alarm stopped the run, and where."""


@dataclass(frozen=True)
class Alarm:
    """Go off when the mean of the last `steps` values of `what` falls below a share of the mean of the first ones."""

    what: str
    below: float
    steps: int
    stops: bool

    def ratio(self, values: Sequence[float]) -> float | None:
        """Return the present value in terms of the start; None while it is still the start, or the start is 0."""
        start = statistics.fmean(values[: self.steps]) if len(values) > self.steps else 0.0
        return statistics.fmean(values[-self.steps :]) / start if start > 0 else None

    def is_low(self, values: Sequence[float]) -> bool:
        """Say whether the present value is below the share."""
        ratio = self.ratio(values)
        return ratio is not None and ratio < self.below


class Alarms(TrainerCallback):
    """Watch a stage's metrics. An alarm goes off as its value falls below, not while it stays there.

    All is read from the trainer's own log history, which checkpoints keep: a resumed run knows its start, and goes on
    past the alarm that stopped it. Adds alarm/<what>/ratio to the metrics.
    """

    def __init__(self, alarms: Sequence[Alarm], say: Callable[[str], None]) -> None:
        self.alarms, self.say = alarms, say
        self._stopped: str | None = None

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the step that was just logged."""
        logs: dict[str, float] = kwargs["logs"]
        for alarm in self.alarms:
            key = WATCHED[alarm.what]
            values = [float(row[key]) for row in state.log_history if key in row]
            if key not in logs or not values:
                continue
            ratio = alarm.ratio(values)
            if ratio is not None:
                logs[f"alarm/{alarm.what}/ratio"] = ratio
            if alarm.is_low(values) and not alarm.is_low(values[:-1]):
                self._go_off(alarm, values, state, control)

    def _go_off(self, alarm: Alarm, values: Sequence[float], state: TrainerState, control: TrainerControl) -> None:
        start, now = statistics.fmean(values[: alarm.steps]), statistics.fmean(values[-alarm.steps :])
        message = (
            f"alarm: {alarm.what} {now:.3g} is below {alarm.below:g} of its start {start:.3g} "
            f"(over {alarm.steps} {'step' if alarm.steps == 1 else 'steps'}) at step {state.global_step}"
        )
        if state.is_world_process_zero and not alarm.stops:
            self.say(message)
        if alarm.stops:
            logging.getLogger("rhythm").info(message)  # whoever stops says so on the terminal
            control.should_save = control.should_training_stop = True
            self._stopped = message

    def check(self) -> None:
        """Raise Alarmed where an alarm stopped the run."""
        if self._stopped is not None:
            raise Alarmed(self._stopped)
