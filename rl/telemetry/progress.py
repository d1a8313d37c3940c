"""What a person sees while a run trains: a bar on a terminal, plain lines elsewhere and in train.log."""

import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

LINES_EVERY_SECONDS = 5.0
logger = logging.getLogger("rhythm")


class _Remaining(ProgressColumn):
    """Show the time left at the mean pace of this attempt."""

    def render(self, task: Task) -> Text:
        return Text(f"{clock(task.fields['eta'])} left" if task.fields["eta"] is not None else "", style="cyan")


class ProgressDisplay:
    """Show stage, step, reward (or loss), tokens/s and time left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._total = self._first = self._step = 0
        self._begun = self._printed = 0.0

    def begin(self, stage: str, total: int, done: int) -> None:
        """Start a stage of total steps, of which done were made in an earlier attempt."""
        self.end()
        self._stage, self._total, self._first, self._step = stage, total, done, done
        self._begun, self._printed = time.monotonic(), 0.0
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                _Remaining(),
                console=self.console,
            )
            self._task = self._bar.add_task(stage, total=total, completed=done, figures="", eta=None)
            self._bar.start()

    def update(self, row: Mapping[str, Any]) -> None:
        """Show a step's metrics."""
        logger.info(self._show(row["step"], figures(row)))

    def advance(self, count: int = 1) -> None:
        """Show that more is done, of what has no metrics."""
        self._show(self._step + count, "")

    def _show(self, step: int, shown: str) -> str:
        """Show how far it is, on a terminal at once and elsewhere every few seconds, and return it in words."""
        self._step = step
        made = step - self._first
        eta = (time.monotonic() - self._begun) / made * (self._total - step) if made > 0 else None
        left = "" if eta is None else f"{clock(eta)} left"
        line = "  ".join(part for part in (f"{self._stage} {step}/{self._total}", shown, left) if part)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, figures=shown, eta=eta)
        elif step in (1, self._total) or time.monotonic() - self._printed >= LINES_EVERY_SECONDS:
            self._printed = time.monotonic()
            self._print(line)
        return line

    def end(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        logger.info(text)
        self._print(text)

    def _print(self, text: str) -> None:
        try:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        except OSError as error:  # a full disk under a redirected output
            logger.info("nothing more is printed: %s", error)
            self.console.quiet = True


def figures(row: Mapping[str, Any]) -> str:
    """Return the step's key figures: the reward where there is one, else the loss."""
    shown = (
        ("reward", "reward/total/mean", "{:+.3f}"),
        ("loss", "optimizer/loss/mean", "{:.3f}"),
        ("length", "rollout/length/mean", "{:.0f}"),
        ("entropy", "policy/entropy/mean", "{:.2f}"),
    )
    if row.get("reward/unjudged/share") == 1:
        return "reward none: nothing could be judged"
    present = [(name, form.format(row[key])) for name, key, form in shown if row.get(key) is not None]
    if present and present[0][0] == "reward":
        present = [pair for pair in present if pair[0] != "loss"]
    pace = row.get("time/tokens/per_second")
    return "  ".join(f"{name} {value}" for name, value in present) + (f"  {pace:,.0f} tokens/s" if pace else "")


def clock(seconds: float) -> str:
    """Format a duration as h:mm:ss, without the hours where there are none."""
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:")
