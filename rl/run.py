"""The composition root: recipe -> data -> rollouts -> rewards -> credit -> loss -> telemetry -> report."""

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from transformers import PreTrainedTokenizerBase, set_seed
from trl.trainer.sft_config import SFTConfig

from rl import checkpoints, models, rollouts
from rl.parts import Plan, build_critic, build_scorer, load_model, make_plan
from rl.processes.company import Company, stacks_file, watched
from rl.processes.early import EarlySignal
from rl.processes.group import Group, join
from rl.processes.place import Place
from rl.recipe import dump
from rl.recipe.checks import world_faults
from rl.recipe.sections import Recipe
from rl.recipe.trainer_sections import Online, Ppo
from rl.report import write_report
from rl.settings import build_alarms, build_care, credit_settings, patience_hours, ppo_settings, trl_config
from rl.telemetry.environment import describe
from rl.telemetry.logs import log_to, quiet_libraries
from rl.telemetry.progress import ProgressDisplay
from rl.telemetry.record import RunDirectory, RunError, check_new
from rl.telemetry.tracking import Tracker
from rl.telemetry.watch import Watch
from rl.trainers import (
    Alarmed,
    Alarms,
    Care,
    GrpoTrainer,
    Interrupt,
    Interrupted,
    PpoTrainer,
    Pulse,
    Unwatched,
    fit_online,
    fit_sft,
    rename,
)

__all__ = ["Alarmed", "Interrupted", "RunFailed", "train"]


class RunFailed(Exception):  # noqa: N818 - the error is its cause
    """Say that training failed; train.log holds the traceback."""


def train(
    recipe: Recipe,
    path: Path,
    *,
    resume: bool,
    console: Console,
    place: Place,
    early: EarlySignal,
    requeued: bool = False,
) -> Path:
    """Run a recipe's stages in the run directory path, with all processes that were launched; return its report.

    Raises RunError, ModelError, DataError and TrainerError before anything is written; Interrupted where a signal
    stopped the run, Alarmed where an alarm of the recipe did, and RunFailed where training failed.
    """
    quiet_libraries()
    progress = ProgressDisplay(console)
    group = join(place, patience_hours(recipe), deepspeed=recipe.cluster.zero > 0)
    path = group.broadcast(path)
    run: RunDirectory | None = None
    together = True  # whether all processes end alike, and can wait for each other
    try:
        with watched(group, recipe.guard.step_minutes * 60, progress.say, (Interrupted, Alarmed)) as company:
            tokenizer, plans = _prepare(recipe, path, resume, console, group)
            run = group.on_main_alone(partial(_open, recipe, path, resume, requeued, group))
            _check_shared(path, group)
            interrupt = Interrupt(group.any, speaks=place.is_main, early=early)
            _run_attempt(recipe, path, tokenizer, plans, run, company, progress, interrupt)
    except (Interrupted, Alarmed):
        raise
    except BaseException:
        together = False
        raise
    finally:
        if run is not None:
            run.close()
            _write_report(path, progress)
        if together:
            group.wait()  # a launcher may end the others once one has left
        group.leave()
    return path / "report.html"


def _prepare(
    recipe: Recipe, path: Path, resume: bool, console: Console, group: Group
) -> tuple[PreTrainedTokenizerBase, list[Plan]]:
    """Load and check what the stages need; writes nothing."""
    if not resume:
        group.on_main(partial(check_new, path))
    for path_of_fault, fault in world_faults(recipe, group.place.world):
        raise RunError(".".join(map(str, path_of_fault)) + f": {fault}")
    models.check_source(recipe.model.name)
    models.check_attention(recipe.model.attention)
    if recipe.model.name == models.TINY:  # too small to share: on a busy machine threads would wait for each other
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


@dataclass(frozen=True)
class Session:
    """Hold what all stages of an attempt share. Only the main process has the run and its tracker."""

    recipe: Recipe
    path: Path
    tokenizer: PreTrainedTokenizerBase
    company: Company
    progress: ProgressDisplay
    interrupt: Interrupt
    run: RunDirectory | None
    tracker: Tracker | None

    @property
    def group(self) -> Group:
        """Return the processes that train together."""
        return self.company.group

    def folder(self, plan: Plan) -> Path:
        """Return where a stage's checkpoints are, and its final policy."""
        return self.path / "checkpoints" / plan.stage.name


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
    company.watchdog.arm(stacks_file(path, attempt, company.group.place.rank))
    progress.say(f"run directory: {path}" + (f", attempt {attempt}" if attempt > 1 else ""))
    tracker = _tracker(recipe, run, progress) if run else None
    how, reason = "interrupted", "at once"
    try:
        with interrupt:
            session = Session(recipe, path, tokenizer, company, progress, interrupt, run, tracker)
            _run_stages(session, plans)
        how, reason = "finished", ""
    except RunError as fault:
        how, reason = "refused", str(fault)
        raise
    except (Interrupted, Alarmed) as stop:
        how, reason = ("interrupted" if isinstance(stop, Interrupted) else "alarmed"), str(stop)
        raise
    except Exception as error:  # whatever it is, the log gets its traceback and the person a way to go on
        logging.getLogger("rhythm").exception("the run failed")
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        how, reason = "failed", company.loss() or f"{said} ({type(error).__name__}; the traceback is in {log})"
        raise RunFailed(reason) from error
    finally:
        progress.end()
        if run is not None:
            run.end(how, reason)
        if tracker is not None:
            tracker.finish(*([FAILED_SECONDS] if how == "failed" else []))


FAILED_SECONDS = 5.0  # that wandb may take once a run has failed: its machines must be freed


def _run_stages(session: Session, plans: Sequence[Plan]) -> None:
    """Run the stages that have not ended, each from the policy of the one before."""
    group, model = session.group, session.recipe.model
    base = group.on_main(lambda: models.write_base(model.name, session.recipe.seed, session.path / "checkpoints/base"))
    ended = group.broadcast([plan.stage.name for plan in plans if (session.folder(plan) / "final").is_dir()])
    policy: Path | None = None
    for plan in plans:
        name, final = plan.stage.name, session.folder(plan) / "final"
        if name not in ended:
            session.interrupt.check(f"before {name}")
            checkpoint = group.on_main(partial(_take_up, session, plan, ended))
            if checkpoint is None or checkpoints.step_of(checkpoint) < plan.stage.trainer.steps:
                _train_stage(session, plan, base, policy, checkpoint)
            group.on_main(partial(_export, session, plan, base, final))
            session.company.watchdog.beat()
            ended.append(name)
        policy = final


def _take_up(session: Session, plan: Plan, ended: Sequence[str]) -> Path | None:
    """Return the checkpoint that a stage goes on from, with the run's rows taken back to it. Raises RunError."""
    assert session.run is not None
    checkpoint = checkpoints.newest(session.folder(plan), session.progress.say)
    if checkpoint:
        written_by, present = checkpoints.facts_of(checkpoint).get("processes"), session.group.place.world
        if written_by != present:
            raise RunError(
                f"{checkpoint} was written by {written_by} processes, and cannot be taken up by {present}; "
                "start as many as before"
            )
        session.progress.say(f"resuming {plan.stage.name} from {checkpoint.name}")
    session.run.rewind(ended, plan.stage.name, checkpoints.step_of(checkpoint) if checkpoint else 0)
    return checkpoint


def _export(session: Session, plan: Plan, base: str, final: Path) -> None:
    """Write the policy of a stage that has made its last step, from its last checkpoint."""
    checkpoint = checkpoints.newest(final.parent, session.progress.say)
    if checkpoint is None or checkpoints.step_of(checkpoint) < plan.stage.trainer.steps:
        raise RunError(f"{final.parent}: the last checkpoint is damaged; resume, and its steps are made again")
    with models.unpartitioned():
        policy = load_model(session.recipe, base, checkpoint)
        models.export(policy, session.tokenizer, final, plan.use, checkpoint)
    session.progress.say(f"{plan.stage.name}: the trained policy is in {final}")


def _train_stage(session: Session, plan: Plan, base: str, policy: Path | None, resume_from: Path | None) -> None:
    """Train one stage to its last step. Raises Interrupted or Alarmed where it stopped before."""
    recipe, stage = session.recipe, plan.stage
    alarms = Alarms(build_alarms(recipe) if isinstance(stage.trainer, Online) else [], session.progress.say)
    care = build_care(recipe)
    try:
        step = _fit(session, plan, base, policy, alarms, care, resume_from)
    finally:
        session.progress.end()
        gc.collect()  # trainers hold themselves in circles, and the next stage wants their memory
    if step < stage.trainer.steps:
        session.interrupt.check(f"in step {step} of {stage.name}")
        alarms.check()
        care.guard.check()


def _fit(
    session: Session,
    plan: Plan,
    base: str,
    policy: Path | None,
    alarms: Alarms,
    care: Care,
    resume_from: Path | None,
) -> int:
    """Train one stage and return how many steps it has made."""
    recipe, stage, tokenizer = session.recipe, plan.stage, session.tokenizer
    config = trl_config(recipe, stage, session.folder(plan), session.group.place.world)  # before any model is loaded
    set_seed(recipe.seed)
    model = load_model(recipe, base, policy)
    watch = _watch(session, stage.name)
    # The watch writes down what the alarms add to the metrics.
    callbacks = [alarms, *([watch] if watch else []), session.interrupt, Pulse(session.company.watchdog.beat)]
    common = {"model": model, "tokenizer": tokenizer, "care": care, "callbacks": callbacks, "resume_from": resume_from}
    if isinstance(config, SFTConfig):
        dataset = rollouts.completion_dataset(plan.tasks, plan.system, tokenizer, plan.dial)
        return fit_sft(config, dataset=dataset, **common)
    build: Callable[..., GrpoTrainer] = GrpoTrainer
    if isinstance(stage.trainer, Ppo):
        critic = build_critic(recipe, stage.trainer, model, base, policy)
        build = partial(PpoTrainer, settings=ppo_settings(stage.trainer), critic=critic)
    return fit_online(
        build,
        config,
        dataset=rollouts.prompt_dataset(plan.tasks, plan.system),
        reward=build_scorer(recipe, plan, tokenizer, models.end_ids(model)),
        credit=credit_settings(stage.credit or recipe.credit),
        observer=watch or Unwatched(),
        keep_every=recipe.telemetry.samples.every,
        keep_count=recipe.telemetry.samples.count,
        **common,
    )


def _watch(session: Session, stage: str) -> Watch | None:
    if session.run is None or session.tracker is None:
        return None
    return Watch(
        stage=stage,
        run=session.run,
        rename=rename,
        tokenizer=session.tokenizer,
        progress=session.progress,
        tracker=session.tracker,
    )


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
