"""Make a study's runs: several at a time, each a process of its own, from where an earlier attempt left them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rl.comparison.arms import differing, flat
from rl.endings import ALARMED, INTERRUPTED
from rl.recipe import dump
from rl.study.plan import Plan, PlannedRun, StudyError
from rl.telemetry.jsonl import read_rows
from rl.telemetry.record import RunDirectory, check_taken_up, has_finished, is_over, read_recipe

POLL_SECONDS = 0.5
LOG = "study.log"
UNFAILED = (0, ALARMED, INTERRUPTED, -signal.SIGUSR1)  # ends of a run that was asked to save and stop
BEGUN, SPOKEN, MOST_SAID = "-- an attempt begins", "rhythm: ", 300  # lines of a log, and how much of one is said again


@dataclass
class Attempt:
    """Hold a run that is being made, and how many of its steps are done."""

    run: PlannedRun
    process: subprocess.Popen[bytes]
    steps: int = 0
    size: int = -1

    def count(self) -> int:
        """Return how many steps the run has recorded."""
        path = self.run.path / "metrics.jsonl"
        size = path.stat().st_size if path.is_file() else 0
        if size != self.size:
            self.size, self.steps = size, steps_of(self.run.path)
        return self.steps


class Audience(Protocol):
    """Is told what happens while runs are made."""

    def begun(self, run: PlannedRun) -> None:
        """Hear that a run is being made, or gone on with."""

    def seen(self, going: Sequence[Attempt]) -> None:
        """Hear, again and again, which runs are being made."""

    def ended(self, run: PlannedRun, code: int) -> None:
        """Hear with what exit code a run has ended."""


class Stopped(Exception):  # noqa: N818 - no error: the user, or the time that was given, asked for it
    """Say why a study was stopped before its end, and which runs had `failed`; the others have saved what they have."""

    def __init__(self, reason: str, failed: Sequence[PlannedRun]) -> None:
        super().__init__(reason)
        self.failed = failed


def make_folder(folder: Path) -> None:
    """Make a study's folder. Raises StudyError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written: {error.strerror}; give --run-dir another folder") from None


def check_made(plan: Plan) -> None:
    """Raise StudyError where what is there is no run, was made by other settings, or lacks what a finished run has."""
    runs = (*plan.shared, *plan.runs)
    there = [run for run in runs if (run.path / "recipe.json").is_file()]
    for run in runs:
        if run not in there and run.path.is_dir() and any(run.path.iterdir()):
            raise StudyError(
                f"{run.path}: has no recipe.json; put it back, or take the folder away to make the run anew"
            )
    for run in there:
        keys = differing([flat(read_recipe(run.path)), flat(dump(run.recipe))])
        if keys and not (keys == ["model.name"] and run.start and is_over(run.path)):  # a study that was moved
            raise StudyError(
                f"{run.path}: was made by other settings than the study has now ({', '.join(keys[:3])}); say again "
                "what was said with --set, give --run-dir another folder, or take that run's away"
            )
        check_taken_up(run.path)
        _check_whole(run)
    for run in plan.shared:
        if run in there and is_over(run.path) and not has_finished(run.path):
            raise StudyError(
                f"{run.path}: an alarm stopped it, and no arm can start from it; mend the recipe, or the alarm, and "
                "take that folder away"
            )


def _check_whole(run: PlannedRun) -> None:
    """Raise StudyError where a run that has finished lacks steps that it made: its means would be of others."""
    wanted = sum(stage.trainer.steps for stage in run.recipe.stages)
    if has_finished(run.path) and steps_of(run.path) < wanted:
        raise StudyError(
            f"{run.path / 'metrics.jsonl'}: has {steps_of(run.path)} of the {wanted} steps that the run made; put back "
            "a copy, or take the run's folder away to make it anew"
        )


def make_runs(plan: Plan) -> None:
    """Make the folders of runs that are not there. Raises RunError."""
    for run in (*plan.shared, *plan.runs):
        if not (run.path / "recipe.json").is_file():
            RunDirectory.prepare(run.path, dump(run.recipe))


def conduct(
    runs: Sequence[PlannedRun],
    jobs: int,
    threads: int,
    deadline: float | None,
    audience: Audience,
) -> list[PlannedRun]:
    """Make runs in their order, `jobs` at a time, until the monotonic clock is at `deadline`; return those that failed.

    Each has `threads` of its own. A run that an alarm has stopped is over, and has not failed. Raises Stopped where
    time is up or a signal asks for it, once what is being made has saved itself.
    """
    waiting = [run for run in runs if not is_over(run.path)]
    going: list[Attempt] = []
    failed = []
    with _signals() as asked:
        try:
            while (waiting or going) and not asked and (deadline is None or time.monotonic() < deadline):
                while waiting and len(going) < jobs:
                    going.append(_start(waiting.pop(0), threads))
                    audience.begun(going[-1].run)
                _wait(going)
                audience.seen(going)
                for attempt in [one for one in going if one.process.poll() is not None]:
                    going.remove(attempt)
                    code = attempt.process.returncode
                    if not is_over(attempt.run.path):
                        failed.append(attempt.run)
                    audience.ended(attempt.run, code)
        finally:
            for attempt in going:
                attempt.process.send_signal(signal.SIGUSR1)  # heard also while a run still loads
            for attempt in going:
                attempt.process.wait()
                if attempt.process.returncode not in UNFAILED and not is_over(attempt.run.path):
                    failed.append(attempt.run)
    if going or waiting:
        raise Stopped(signal.Signals(asked[0]).name if asked else "the time that --minutes gives is over", failed)
    return failed


def last_words(run: PlannedRun) -> str:
    """Return what the last attempt at a run that failed gave as its reason, or that it gave none."""
    path = run.path / "logs" / LOG
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    said = text.rpartition(f"{BEGUN}\n")[2].splitlines()
    found = [line.removeprefix(SPOKEN) for line in said if line.startswith(SPOKEN)]
    if not found:
        return "it ended without a word"
    stopped = re.match(r"stopped \((?:failed: )?(.*)\); ", found[-1])
    return (stopped[1] if stopped else found[-1])[:MOST_SAID]


def share_of_cores(runs: Sequence[PlannedRun], jobs: int) -> int:
    """Return how many threads a run has where `jobs` of a whole study's runs are made at a time.

    The same in every leg of one study, whichever runs are left or asked for, since sums depend on it; seeds beside the
    study's own may change it.
    """
    return max(1, (os.cpu_count() or 1) // max(1, min(jobs, len(runs))))


def steps_of(path: Path) -> int:
    """Return how many steps a run has recorded."""
    return len(read_rows(path / "metrics.jsonl"))


def _start(run: PlannedRun, threads: int) -> Attempt:
    """Start a run, in a session of its own so that a Ctrl-C reaches it once: through us."""
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    (run.path / "logs").mkdir(exist_ok=True)
    with (run.path / "logs" / LOG).open("ab") as log:
        log.write(f"{BEGUN}\n".encode())
        log.flush()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rl", "train", "--resume", "--run-dir", str(run.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    return Attempt(run, process)


def _wait(going: Sequence[Attempt]) -> None:
    """Wait until something may have happened."""
    try:
        going[0].process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Note signals that ask for an end inside, in place of dying of them."""
    asked: list[int] = []
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in wanted}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
