"""The composition root: recipe -> data -> rollouts -> rewards -> credit -> loss -> telemetry -> report."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import transformers
from datasets import disable_progress_bars
from rich.console import Console
from torch import nn
from transformers import PreTrainedTokenizerBase, set_seed
from trl.trainer.sft_config import SFTConfig

from rl import models, rollouts
from rl.critic import Critic
from rl.parts import Plan, build_critic, build_scorer, load_model, make_plan
from rl.recipe import dump
from rl.recipe.sections import Recipe
from rl.recipe.trainer_sections import Online, Ppo
from rl.report import write_report
from rl.settings import build_alarms, credit_settings, ppo_settings
from rl.telemetry.environment import describe
from rl.telemetry.progress import ProgressDisplay
from rl.telemetry.record import RunDirectory, RunError, check_new
from rl.telemetry.tracking import Tracker
from rl.telemetry.watch import Watch
from rl.trainers import (
    Alarmed,
    Alarms,
    GrpoTrainer,
    Interrupt,
    Interrupted,
    PpoTrainer,
    fit_online,
    fit_sft,
    rename,
)

__all__ = ["Alarmed", "Interrupted", "RunFailed", "train"]


class RunFailed(Exception):  # noqa: N818 - the error is its cause
    """Say that training failed; train.log holds the traceback."""


def train(recipe: Recipe, path: Path, *, resume: bool, console: Console) -> Path:
    """Run a recipe's stages in the run directory path and return its report.

    Raises RunError, ModelError, DataError and TrainerError before anything is written; Interrupted where a signal
    stopped the run, Alarmed where an alarm of the recipe did, and RunFailed where training failed.
    """
    _quiet()
    if not resume:
        check_new(path)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError("several processes: this version trains in one process; start rhythm without a launcher")
    models.check_source(recipe.model.name)
    models.check_attention(recipe.model.attention)
    if recipe.model.name == models.TINY:  # too small to share: on a busy machine threads would wait for each other
        torch.set_num_threads(1)
    with console.status("reading tasks and tokenizer"):  # some are generated slowly
        tokenizer = models.load_tokenizer(recipe.model.name, recipe.model.revision)
        plans = [make_plan(recipe, index, tokenizer, path) for index in range(len(recipe.stages))]
    start = RunDirectory.resume if resume else RunDirectory.create
    run = start(path, dump(recipe), describe(recipe.seed))
    _log_to(run.log)
    progress = ProgressDisplay(console)
    progress.say(f"run directory: {path}")
    tracker = _tracker(recipe, run, progress)
    try:
        with Interrupt() as interrupt:
            _run_stages(recipe, plans, run, tokenizer, interrupt, progress, tracker)
    except (Interrupted, Alarmed):
        raise
    except Exception as error:  # whatever it is, the log gets its traceback and the person a way to go on
        logging.getLogger("rhythm").exception("the run failed")
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunFailed(f"{reason} ({type(error).__name__}; the traceback is in {run.log})") from error
    finally:
        progress.end()
        tracker.finish()
        run.close()
        report = _write_report(path, progress)
    return report


def _run_stages(
    recipe: Recipe,
    plans: Sequence[Plan],
    run: RunDirectory,
    tokenizer: PreTrainedTokenizerBase,
    interrupt: Interrupt,
    progress: ProgressDisplay,
    tracker: Tracker,
) -> None:
    """Run the stages that have not ended, each from the policy of the one before."""
    base = models.write_base(recipe.model.name, recipe.seed, run.checkpoints / "base")
    ended = [plan.stage.name for plan in plans if run.final_policy(plan.stage.name).is_dir()]
    policy: Path | None = None
    for plan in plans:
        name = plan.stage.name
        final = run.final_policy(name)
        if name not in ended:
            interrupt.check(f"before {name}")
            checkpoint = run.newest_checkpoint(name)
            step = run.step_of(checkpoint) if checkpoint else 0
            run.rewind(ended, name, step)
            if checkpoint:
                progress.say(f"resuming {name} from {checkpoint.name}")
            if checkpoint and step >= plan.stage.trainer.steps:  # only the export was missing
                trained = load_model(recipe, base, checkpoint)
            else:
                watch = Watch(
                    stage=name, run=run, rename=rename, tokenizer=tokenizer, progress=progress, tracker=tracker
                )
                set_seed(recipe.seed)
                model = load_model(recipe, base, policy)
                critic = None
                if isinstance(plan.stage.trainer, Ppo):
                    critic = build_critic(recipe, plan.stage.trainer, model, base, policy)
                trained = _fit(recipe, plan, model, critic, tokenizer, watch, interrupt, checkpoint)
            models.export(trained, tokenizer, final, plan.use, run.newest_checkpoint(name))
            progress.say(f"{name}: the trained policy is in {final}")
            ended.append(name)
        policy = final


def _fit(
    recipe: Recipe,
    plan: Plan,
    model: nn.Module,
    critic: Critic | None,
    tokenizer: PreTrainedTokenizerBase,
    watch: Watch,
    interrupt: Interrupt,
    resume_from: Path | None,
) -> nn.Module:
    """Train one stage and return its model. Raises Interrupted or Alarmed where it stopped before its last step."""
    stage = plan.stage
    alarms = Alarms(build_alarms(recipe) if isinstance(stage.trainer, Online) else [], watch.progress.say)
    callbacks = [alarms, watch, interrupt]  # the watch writes down what the alarms add to the metrics
    common = {"model": model, "tokenizer": tokenizer, "callbacks": callbacks, "resume_from": resume_from}
    try:
        if isinstance(plan.config, SFTConfig):
            dataset = rollouts.completion_dataset(plan.tasks, plan.system, tokenizer, plan.dial)
            trained = fit_sft(plan.config, dataset=dataset, **common)
        else:
            build: Callable[..., GrpoTrainer] = GrpoTrainer
            if isinstance(stage.trainer, Ppo):
                assert critic is not None
                build = partial(PpoTrainer, settings=ppo_settings(stage.trainer), critic=critic)
            trained = fit_online(
                build,
                plan.config,
                dataset=rollouts.prompt_dataset(plan.tasks, plan.system),
                reward=build_scorer(recipe, plan, tokenizer, models.end_ids(model)),
                credit=credit_settings(stage.credit or recipe.credit),
                observer=watch,
                keep_every=recipe.telemetry.samples.every,
                keep_count=recipe.telemetry.samples.count,
                **common,
            )
    finally:
        watch.progress.end()
    if watch.step < stage.trainer.steps:
        interrupt.check(f"in step {watch.step} of {stage.name}")
        alarms.check()
    return trained


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


def _write_report(path: Path, progress: ProgressDisplay) -> Path:
    try:
        return write_report(path)
    except (OSError, ValueError, LookupError) as error:  # a report can be written again; the run's own error must show
        progress.say(f"the report could not be written: {error}; try again: rhythm report {path}")
        return path / "report.html"


LIBRARIES = ("py.warnings", "transformers", "trl", "accelerate", "datasets", "peft")


def _quiet() -> None:
    """Keep the libraries' bars and warnings off the terminal; warnings go to train.log once there is one."""
    disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_default_handler()
    logging.captureWarnings(True)
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # where DeepSpeed is installed it would warn that it found none
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [logging.NullHandler()], False


def _log_to(path: Path) -> None:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.getLogger("rhythm").setLevel(logging.INFO)
    for name in ("rhythm", *LIBRARIES):
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [handler], False
