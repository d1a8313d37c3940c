"""The composition root: recipe -> data -> rollouts -> rewards -> credit -> loss -> telemetry -> report."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from transformers import PreTrainedTokenizerBase

from rl import models
from rl.endings import first_line
from rl.parts import Plan, make_plan
from rl.processes.company import Company, stacks_file, watched
from rl.processes.early import EarlySignal
from rl.processes.group import Group, MeetingError, join
from rl.processes.place import Place
from rl.recipe import dump
from rl.recipe.checks import world_faults
from rl.recipe.sections import Recipe
from rl.report import write_report
from rl.settings import check_installed, patience_hours
from rl.stages import Session, run_stages
from rl.telemetry.environment import describe
from rl.telemetry.logs import log_to, quiet_libraries
from rl.telemetry.progress import ProgressDisplay
from rl.telemetry.record import RunDirectory, RunError, check_new
from rl.telemetry.tracking import Tracker
from rl.trainers import Alarmed, Interrupt, Interrupted

__all__ = ["Alarmed", "Interrupted", "RunFailed", "train"]


ALONE = Place()


class RunFailed(Exception):  # noqa: N818 - the error is its cause
    """Say that training failed; train.log holds the traceback."""


def train(
    recipe: Recipe,
    path: Path,
    *,
    resume: bool,
    console: Console,
    place: Place = ALONE,
    early: EarlySignal | None = None,
    requeued: bool = False,
) -> None:
    """Run a recipe's stages in the run directory path, with all processes that were launched, and write its report.

    Raises RunError, ModelError, DataError and TrainerError before anything is written; Interrupted where a signal
    stopped the run, Alarmed where an alarm of the recipe did, and RunFailed where training failed.
    """
    quiet_libraries()
    progress = ProgressDisplay(console)
    try:
        group = join(place, patience_hours(recipe), deepspeed=recipe.cluster.zero > 0)
    except MeetingError as error:
        raise RunFailed(str(error)) from None
    path = group.broadcast(path)
    try:
        with watched(group, recipe.guard.step_minutes * 60, progress.say, (Interrupted, Alarmed)) as company:
            tokenizer, plans = _prepare(recipe, path, resume, console, group)
            run = group.on_main_alone(partial(_open, recipe, path, resume, requeued, group))
            with _ending(run, company, progress):
                _check_shared(path, group)
                interrupt = Interrupt(group.any, speaks=place.is_main, early=early)
                _run_attempt(recipe, path, tokenizer, plans, run, company, progress, interrupt)
    finally:
        group.leave()


@contextmanager
def _ending(run: RunDirectory | None, company: Company, progress: ProgressDisplay) -> Iterator[None]:
    """Close the run and write its report; where all processes come to the same end, they leave together."""
    together = True
    try:
        yield
    except (Interrupted, Alarmed):
        raise
    except BaseException as error:  # passed on, once the others have heard of it
        together = company.is_shared(error)
        company.fail(error)
        raise
    finally:
        if run is not None:
            run.close()
            _write_report(run.path, progress)
        if together:
            company.group.wait()  # a launcher may end the others once one has left
            company.group.leave()


def _prepare(
    recipe: Recipe, path: Path, resume: bool, console: Console, group: Group
) -> tuple[PreTrainedTokenizerBase, list[Plan]]:
    """Load and check what the stages need; writes nothing."""
    if not resume:
        group.on_main(partial(check_new, path))
    for path_of_fault, fault in world_faults(recipe, group.place.world):
        raise RunError(".".join(map(str, path_of_fault)) + f": {fault}")
    check_installed(recipe)
    models.check_source(recipe.model.name)
    models.check_attention(recipe.model.attention)
    if recipe.model.name == "tiny":  # too small to share: on a busy machine threads would wait for each other
        torch.set_num_threads(1)
    with console.status("reading tasks and tokenizer"):  # some are generated slowly
        tokenizer = models.load_tokenizer(recipe.model.name, recipe.model.revision)
        return tokenizer, [
            make_plan(recipe, index, tokenizer, path, group.place.world) for index in range(len(recipe.stages))
        ]


def _open(recipe: Recipe, path: Path, resume: bool, requeued: bool, group: Group) -> RunDirectory:
    environment = {**describe(recipe.seed), "processes": group.place.world}
    if resume:
        return RunDirectory.resume(path, dump(recipe), environment, requeued=requeued)
    return RunDirectory.create(path, dump(recipe), environment)


def _check_shared(path: Path, group: Group) -> None:
    """Raise RunError where a process does not see the run directory that the main one opened."""
    blind = [rank for rank, sees in enumerate(group.gather((path / "recipe.json").is_file())) if not sees]
    if blind:
        raise RunError(f"{path}: processes {blind} do not see it; put the run on a file system that all nodes share")


def _run_attempt(
    recipe: Recipe,
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    plans: Sequence[Plan],
    run: RunDirectory | None,
    company: Company,
    progress: ProgressDisplay,
    interrupt: Interrupt,
) -> None:
    """Run the stages, and write down how the attempt ended. Raises Interrupted, Alarmed and RunFailed."""
    attempt = company.group.broadcast(run.attempt if run else 0)
    log = path / "train.log" if run else path / "logs" / f"process{company.group.place.rank}.log"
    log_to(log)
    company.watchdog.arm(stacks_file(path, attempt, company.group.place.rank), run and partial(run.end, "failed"))
    tracker = None
    how, reason = "interrupted", "at once"
    try:
        with interrupt:
            progress.say(f"run directory: {path}" + (f", attempt {attempt}" if attempt > 1 else ""))
            tracker = _tracker(recipe, run, progress) if run else None
            session = Session(recipe, path, tokenizer, company, progress, interrupt, run, tracker)
            run_stages(session, plans)
        how, reason = "finished", ""
    except RunError as fault:
        how, reason = "refused", str(fault)
        raise
    except (Interrupted, Alarmed) as stop:
        how, reason = ("interrupted" if isinstance(stop, Interrupted) else "alarmed"), str(stop)
        raise
    except Exception as error:  # whatever it is, the log gets its traceback and the person a way to go on
        logging.getLogger("rhythm").exception("the run failed")
        said = f"{first_line(error)} ({type(error).__name__}; the traceback is in {log})"
        # What a run that is asked to stop breaks off on, such as a server that heard it too, is no crash of its own.
        how, reason = ("interrupted" if interrupt.has_come else "failed"), company.loss() or said
        raise RunFailed(reason) from error
    finally:
        progress.end()
        if run is not None:
            run.end(how, reason)
        if tracker is not None:
            tracker.finish(*([FAILED_SECONDS] if how == "failed" else []))


FAILED_SECONDS = 5.0  # that wandb may take once a run has failed: its machines must be freed


def _tracker(recipe: Recipe, run: RunDirectory, progress: ProgressDisplay) -> Tracker:
    wandb = recipe.telemetry.wandb
    return Tracker(
        mode=wandb.mode,
        project=wandb.project,
        entity=wandb.entity,
        name=run.path.resolve().name,
        folder=run.path,
        config=dump(recipe),
        run_id=run.id,
        say=progress.say,
    )


def _write_report(path: Path, progress: ProgressDisplay) -> None:
    try:
        write_report(path)
    except (OSError, ValueError, LookupError) as error:  # a report can be written again; the run's own error must show
        progress.say(f"the report could not be written: {error}; try again: rhythm report {path}")
