"""What a person sees while a study is conducted: a bar of all steps and one a run on a terminal, lines elsewhere."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from rl.endings import ALARMED
from rl.study.conduct import Attempt, steps_of
from rl.study.plan import PlannedRun
from rl.telemetry.progress import clock

LINES_EVERY_SECONDS = 60.0
FEWEST_STEPS = 5  # that say how long the rest will take: the first ones pay for what runs load


class StudyProgress:
    """Show how many steps of all runs are made, and how long the rest will take at the pace so far."""

    def __init__(self, console: Console, runs: Sequence[PlannedRun]) -> None:
        self.console = console
        self._runs = list(runs)
        self._total = sum(_steps(run) for run in runs)
        self._done = {run.path: steps_of(run.path) for run in runs}
        self._arms = [run for run in runs if run.arm is not None]
        self._pace_of([run for run in runs if run.arm is None])
        self._printed = time.monotonic()
        self._began: dict[Path, float] = {}
        self._tasks: dict[Path, TaskID] = {}
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeElapsedColumn(), TextColumn("{task.fields[left]}"), console=self.console)
            self._all = self._bar.add_task(
                "[bold]all steps", total=self._total, completed=self._made(self._runs), left=""
            )
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begun(self, run: PlannedRun) -> None:
        """Say that a run is being made, or gone on with."""
        self._began[run.path] = time.monotonic()
        if run.arm is not None and self._paced is not self._arms:
            self._pace_of(self._arms)
        if self._bar is not None:
            done = self._done[run.path]
            self._tasks[run.path] = self._bar.add_task(_named(run), total=_steps(run), completed=done, left="")
        else:
            self._say(f"{_named(run)}: {'goes on' if self._done[run.path] else 'begins'}")

    def seen(self, going: Sequence[Attempt]) -> None:
        """Show how far the runs are."""
        for attempt in going:
            self._done[attempt.run.path] = attempt.count()
            if self._bar is not None:
                self._bar.update(self._tasks[attempt.run.path], completed=attempt.steps)
        if self._bar is not None:
            self._bar.update(self._all, completed=self._made(self._runs), left=self._left())
        elif time.monotonic() - self._printed >= LINES_EVERY_SECONDS:
            self._printed = time.monotonic()
            self._say(f"{self._made(self._runs):,} of {self._total:,} steps  {self._left()}")

    def ended(self, run: PlannedRun, code: int) -> None:
        """Say how a run has ended."""
        if self._bar is not None and run.path in self._tasks:
            self._bar.remove_task(self._tasks.pop(run.path))
        took = clock(time.monotonic() - self._began[run.path])
        how = {0: "done", ALARMED: "stopped by an alarm"}.get(code, f"failed with {code}")
        self._say(f"{_named(run)}: {how} after {took}  {self._left()}")

    def _pace_of(self, runs: Sequence[PlannedRun]) -> None:
        """Reckon from now on with the steps of these runs: a warm-up's are not as long as those of the arms."""
        self._paced, self._first, self._begun = runs, self._made(runs), time.monotonic()

    def _made(self, runs: Sequence[PlannedRun]) -> int:
        return sum(self._done[run.path] for run in runs)

    def _left(self) -> str:
        made = self._made(self._paced) - self._first
        left = sum(_steps(run) for run in self._paced) - self._made(self._paced)
        what = "" if self._paced is self._arms else " of what is shared"
        if made < FEWEST_STEPS or not left:
            return ""
        return f"{clock((time.monotonic() - self._begun) / made * left)} left{what}"

    def _say(self, text: str) -> None:
        self.console.print(text.rstrip(), highlight=False, markup=False, soft_wrap=True)


def _named(run: PlannedRun) -> str:
    return run.path.name if run.arm is not None else f"{run.path.parent.name}/{run.path.name}"


def _steps(run: PlannedRun) -> int:
    return sum(stage.trainer.steps for stage in run.recipe.stages)
