"""The composition root: recipe -> data -> rollouts -> rewards -> credit -> loss -> telemetry -> report."""

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import transformers
from datasets import disable_progress_bars
from rich.console import Console
from torch import nn
from transformers import PreTrainedTokenizerBase, set_seed

from rl import models, recipe, rollouts
from rl.parts import Plan, build_rubric, credit_settings, load_model, make_plan
from rl.recipe.sections import Recipe, Sft
from rl.report import write_report
from rl.telemetry.environment import describe
from rl.telemetry.progress import ProgressDisplay
from rl.telemetry.record import RunDirectory, RunError, check_new
from rl.telemetry.tracking import Tracker
from rl.telemetry.watch import Watch
from rl.trainers import Interrupt, fit_grpo, fit_sft, rename


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Say that a signal stopped the run, and where."""


class RunFailed(Exception):  # noqa: N818 - the error is its cause
    """Say that training failed; train.log holds the traceback."""


FAILURES = (ArithmeticError, AssertionError, LookupError, OSError, RuntimeError, TypeError, ValueError)


def train(settings: Recipe, path: Path, *, resume: bool, console: Console) -> Path:
    """Run a recipe's stages in the run directory path and return its report.

    Raises RunError, ModelError, DataError and TrainerError before anything is written; Interrupted where a signal
    stopped the run, and RunFailed where training failed.
    """
    _quiet()
    if not resume:
        check_new(path)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError("several processes: this version trains in one process; start rhythm without a launcher")
    models.check_source(settings.model.name)
    tokenizer = models.load_tokenizer(settings.model.name, settings.model.revision)
    plans = [make_plan(settings, index, tokenizer, path) for index in range(len(settings.stages))]
    start = RunDirectory.resume if resume else RunDirectory.create
    run = start(path, recipe.dump(settings), describe(settings.seed))
    _log_to(run.log)
    progress = ProgressDisplay(console)
    progress.say(f"run directory: {path}")
    tracker = _tracker(settings, run, progress)
    try:
        _run_stages(settings, plans, run, tokenizer, progress, tracker)
    except FAILURES as error:
        logging.getLogger("rhythm").exception("the run failed")
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunFailed(f"{reason} ({type(error).__name__}; the traceback is in {run.log})") from error
    finally:
        progress.end()
        tracker.finish()
        run.close()
        report = write_report(path)
    return report


def _run_stages(
    settings: Recipe,
    plans: Sequence[Plan],
    run: RunDirectory,
    tokenizer: PreTrainedTokenizerBase,
    progress: ProgressDisplay,
    tracker: Tracker,
) -> None:
    """Run the stages that have not ended, each from the policy of the one before."""
    base = models.write_base(settings.model.name, settings.seed, run.checkpoints / "base")
    ended = [plan.stage.name for plan in plans if run.final_policy(plan.stage.name).is_dir()]
    policy: Path | None = None
    for plan in plans:
        name = plan.stage.name
        final = run.final_policy(name)
        if name not in ended:
            checkpoint = run.newest_checkpoint(name)
            run.rewind(ended, name, run.step_of(checkpoint) if checkpoint else 0)
            if checkpoint:
                progress.say(f"resuming {name} from {checkpoint.name}")
            watch = Watch(stage=name, run=run, rename=rename, tokenizer=tokenizer, progress=progress, tracker=tracker)
            set_seed(settings.seed)
            trained = _fit(settings, plan, load_model(settings, base, policy), tokenizer, watch, checkpoint)
            models.export(trained, tokenizer, final)
            progress.say(f"{name}: the trained policy is in {final}")
            ended.append(name)
        policy = final


def _fit(
    settings: Recipe,
    plan: Plan,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    watch: Watch,
    resume_from: Path | None,
) -> nn.Module:
    """Train one stage and return its model. Raises Interrupted where a signal stopped it."""
    stage, interrupt = plan.stage, Interrupt()
    common = {"model": model, "tokenizer": tokenizer, "callbacks": [watch, interrupt], "resume_from": resume_from}
    try:
        if isinstance(stage.trainer, Sft):
            dataset = rollouts.completion_dataset(plan.tasks, plan.system)
            trained = fit_sft(plan.config, dataset=dataset, **common)
        else:
            trained = fit_grpo(
                plan.config,
                dataset=rollouts.prompt_dataset(plan.tasks, plan.system),
                reward=rollouts.RubricReward(build_rubric(stage.rewards or settings.rewards), tokenizer),
                credit=credit_settings(stage.credit or settings.credit),
                observer=watch,
                trace_every=settings.telemetry.samples.every,
                trace_count=settings.telemetry.samples.count,
                **common,
            )
    finally:
        interrupt.release()
        watch.progress.end()
    if interrupt.requested is not None:
        raise Interrupted(f"{interrupt.requested.name} during {stage.name}")
    return trained


def _tracker(settings: Recipe, run: RunDirectory, progress: ProgressDisplay) -> Tracker:
    wandb = settings.telemetry.wandb
    return Tracker(
        mode=wandb.mode,
        project=wandb.project,
        entity=wandb.entity,
        name=run.path.resolve().name,
        folder=run.path,
        config=recipe.dump(settings),
        run_id=run.id,
        say=progress.say,
    )


def _quiet() -> None:
    """Keep the libraries' chatter off the terminal; warnings still reach train.log."""
    transformers.logging.set_verbosity_error()
    disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    logging.captureWarnings(True)


def _log_to(path: Path) -> None:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("rhythm")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
