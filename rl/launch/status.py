"""How a run stands: its job, its stages, its attempts, its checkpoints; read from what it wrote down."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rl import checkpoints
from rl.launch import slurm
from rl.launch.jobs import RECORD, read_record
from rl.launch.slurm import JobState, LaunchError
from rl.recipe import resolve
from rl.telemetry import attempts
from rl.telemetry.jsonl import read_rows
from rl.telemetry.progress import clock, figures
from rl.telemetry.record import LAUNCH, read_recipe

PACE_ROWS = 20  # steps that the time left is reckoned from


@dataclass(frozen=True)
class StageState:
    """Hold how far a stage is: `figures` are its last step's, `pace` seconds a step."""

    name: str
    steps: int
    step: int
    is_done: bool
    figures: str = ""
    pace: float | None = None
    checkpoint: int | None = None


@dataclass(frozen=True)
class RunState:
    """Hold how a run stands. `job_fault` says why Slurm was not asked; `silent_seconds` ago it wrote its last row."""

    path: Path
    stages: list[StageState]
    attempts: list[Mapping[str, Any]] = field(default_factory=list)
    job: str | None = None
    job_state: JobState | None = None
    job_fault: str = ""
    silent_seconds: float | None = None

    @property
    def is_done(self) -> bool:
        """Say whether every stage has ended."""
        return all(stage.is_done for stage in self.stages)


def look_at(path: Path) -> RunState:
    """Return how the run in path stands. Raises RunError and LaunchError."""
    recipe = resolve(read_recipe(path), str(path / "recipe.json"))
    rows = _rows(path)
    stages = []
    for stage in recipe.stages:
        own = [row for row in rows if row.get("stage") == stage.name]
        folder = path / "checkpoints" / stage.name
        saved = [checkpoints.step_of(found.parent) for found in folder.glob(f"*/{checkpoints.MANIFEST}")]
        saved = [step for step in saved if step >= 0]
        paces = [row["time/step/seconds"] for row in own[-PACE_ROWS:] if row.get("time/step/seconds")]
        stages.append(
            StageState(
                name=stage.name,
                steps=stage.trainer.steps,
                step=own[-1]["step"] if own else 0,
                is_done=(folder / "final").is_dir(),
                figures=figures(own[-1]) if own else "",
                pace=sum(paces) / len(paces) if paces else None,
                checkpoint=max(saved) if saved else None,
            )
        )
    job = read_record(path)["job"] if (path / LAUNCH / RECORD).is_file() else None
    job_state, job_fault = None, ""
    try:
        job_state = slurm.look_up(job) if job else None
    except LaunchError as error:  # the run itself can be read without Slurm
        job_fault = str(error)
    return RunState(
        path=path,
        stages=stages,
        attempts=_attempts(path),
        job=job,
        job_state=job_state,
        job_fault=job_fault,
        silent_seconds=time.time() - (path / "metrics.jsonl").stat().st_mtime if rows else None,
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = read_rows(path / "metrics.jsonl")
    except ValueError as error:
        raise LaunchError(str(error)) from None
    known = [row for row in rows if isinstance(row.get("step"), int)]
    for row in known:
        if any(isinstance(value, str) for key, value in row.items() if "/" in key):
            raise LaunchError(f"{path / 'metrics.jsonl'}: the row of step {row['step']} holds text for a number")
    return known


def _attempts(path: Path) -> list[Mapping[str, Any]]:
    try:
        return list(attempts.read(path / "environment.json"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise LaunchError(f"{path / 'environment.json'}: cannot be read: {error}") from None


def lines_of(state: RunState) -> list[str]:
    """Return how a run stands in words, a line a fact."""
    lines = [f"run directory: {state.path}"]
    if state.job:
        lines.append(f"job {state.job}: {state.job_fault or _job_words(state.job_state)}")
    goes_on = state.job_state is None or not state.job_state.is_over
    lines += [_stage_words(stage, goes_on) for stage in state.stages]
    lines += [f"attempt {number}: {_attempt_words(one)}" for number, one in enumerate(state.attempts, 1)]
    if state.silent_seconds is not None and not state.is_done:
        lines.append(f"last step written {clock(state.silent_seconds)} ago")
    return lines


def _job_words(job: JobState | None) -> str:
    if job is None:
        return "over, and Slurm knows it no more"
    words = job.state.lower()
    again = {0: "", 1: ", requeued once"}.get(job.restarts, f", requeued {job.restarts} times")
    if job.state == "PENDING":
        return f"{words}{f' ({job.reason})' if job.reason else ''}{again}"
    limit = "" if job.limit in ("", "UNLIMITED") else f" of {job.limit}"
    return f"{words} on {job.nodes or 'no node'}, {job.elapsed}{limit}{again}"


def _stage_words(stage: StageState, goes_on: bool) -> str:
    if stage.is_done:
        return f"stage {stage.name}: done, {stage.steps} steps"
    if not stage.step:
        return f"stage {stage.name}: not begun, {stage.steps} steps"
    left = f", about {clock(stage.pace * (stage.steps - stage.step))} left" if stage.pace and goes_on else ""
    pace = f", {stage.pace:.2g} s a step" if stage.pace else ""
    saved = f", saved at step {stage.checkpoint}" if stage.checkpoint else ", no checkpoint yet"
    return f"stage {stage.name}: step {stage.step} of {stage.steps}{pace}{left}{saved}\n    {stage.figures}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}es"


def _attempt_words(attempt: Mapping[str, Any]) -> str:
    host = (attempt.get("hardware") or {}).get("host", "?")
    words = f"began {attempt.get('started', '?')} on {host}, {_counted(attempt.get('processes', 1), 'process')}"
    ended = attempt.get("ended")
    if not ended:
        return f"{words}; goes on, or died without a word"
    where = f" behind step {ended.get('step')} of {ended['stage']}" if ended.get("stage") else ""
    reason = f" ({ended['reason']})" if ended.get("reason") else ""
    return f"{words}; {ended.get('how')}{where}{reason}"
