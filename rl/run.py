"""The composition root: recipe -> data -> rollouts -> rewards -> credit -> loss -> telemetry -> report.

The only file that sees a recipe and everything else; what it calls takes plain keyword arguments.
"""

import functools
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from datasets import disable_progress_bars
from rich.console import Console
from torch import nn
from transformers import PreTrainedTokenizerBase, set_seed

from rewards import REWARDS, Rubric
from rl import credit as credit_rules
from rl import data, models, recipe, rollouts
from rl.recipe.sections import (
    Columns,
    Coupled,
    Credit,
    Grpo,
    Hub,
    Jsonl,
    Parquet,
    ReasoningGym,
    Recipe,
    Rewards,
    Sft,
    Stage,
)
from rl.report import write_report
from rl.telemetry.environment import describe
from rl.telemetry.progress import ProgressDisplay
from rl.telemetry.record import RunDirectory, RunError, check_new
from rl.telemetry.tracking import Tracker
from rl.telemetry.watch import Watch
from rl.trainers import CreditSettings, Interrupt, Schedule, fit_grpo, fit_sft, rename


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Say that a signal stopped the run, and where."""


@dataclass(frozen=True)
class Plan:
    """Hold what a stage needs, loaded and checked before anything is written."""

    stage: Stage
    tasks: Sequence[data.Task]
    system: str | None


def train(settings: Recipe, path: Path, *, resume: bool, console: Console) -> Path:
    """Run a recipe's stages in the run directory path and return its report.

    Raises RunError, ModelError and DataError before anything is written; Interrupted where a signal stopped the run.
    """
    _quiet()
    if not resume:
        check_new(path)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError("several processes: this version trains in one process; start rhythm without a launcher")
    models.check_source(settings.model.name)
    tokenizer = models.load_tokenizer(settings.model.name, settings.model.revision)
    plans = [_plan(settings, index, tokenizer) for index in range(len(settings.stages))]
    start = RunDirectory.resume if resume else RunDirectory.create
    run = start(path, recipe.dump(settings), describe(settings.seed))
    _log_to(run.log)
    progress = ProgressDisplay(console)
    wandb = settings.telemetry.wandb
    tracker = Tracker(
        mode=wandb.mode,
        project=wandb.project,
        entity=wandb.entity,
        name=path.name,
        folder=path,
        config=recipe.dump(settings),
        run_id=path.resolve().name,
        say=progress.say,
    )
    try:
        _run_stages(settings, plans, run, tokenizer, progress, tracker)
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
    base = models.write_base(settings.model.name, settings.seed, run.checkpoints / "base")
    policy, done = None, []
    resumed = next((plan.stage.name for plan in plans if not run.final_policy(plan.stage.name).is_dir()), None)
    checkpoint = run.newest_checkpoint(resumed) if resumed else None
    run.rewind(
        [plan.stage.name for plan in plans if run.final_policy(plan.stage.name).is_dir()],
        resumed,
        int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0,
    )
    for plan in plans:
        final = run.final_policy(plan.stage.name)
        if not final.is_dir():
            if checkpoint is not None and not done:
                progress.say(f"resuming {plan.stage.name} from {checkpoint.name}")
            interrupt = Interrupt()
            watch = Watch(
                stage=plan.stage.name, run=run, rename=rename, tokenizer=tokenizer, progress=progress, tracker=tracker
            )
            set_seed(settings.seed)
            model = _load_model(settings, base, policy)
            resume_from = run.newest_checkpoint(plan.stage.name)
            try:
                trained = _fit(settings, plan, model, tokenizer, run, watch, interrupt, resume_from)
            finally:
                interrupt.release()
                progress.end()
            if interrupt.requested is not None:
                raise Interrupted(f"{interrupt.requested.name} during {plan.stage.name}")
            models.export(trained, tokenizer, final)
            progress.say(f"{plan.stage.name}: the trained policy is in {final}")
        policy = final
        done.append(plan.stage.name)


def _plan(settings: Recipe, index: int, tokenizer: PreTrainedTokenizerBase) -> Plan:
    stage = settings.stages[index]
    source = stage.data or settings.data
    trainer = stage.trainer
    tasks = _load_tasks(source, seed=settings.seed * 1000 + index, traced=isinstance(trainer, Sft))[: source.limit]
    context = models.context_length(settings.model.name, settings.model.revision)
    if isinstance(trainer, Sft):
        longest, remedy = (
            min(context, trainer.max_length),
            f"raise stages.{stage.name}.trainer.max_length or shorten the row",
        )
        data.check_fit(tasks, tokenizer, source.system, longest, None, remedy)
    else:
        remedy = f"shorten the prompt or lower stages.{stage.name}.trainer.max_completion_length"
        data.check_fit(tasks, tokenizer, source.system, context, trainer.max_completion_length, remedy)
        if len(tasks) < trainer.prompts_per_step:
            raise data.DataError(
                f"data: {len(tasks)} tasks are fewer than stages.{stage.name}.trainer.prompts_per_step = "
                f"{trainer.prompts_per_step}; lower it or bring more tasks"
            )
    return Plan(stage, tasks, source.system)


def _load_tasks(source: Any, seed: int, traced: bool) -> list[data.Task]:
    match source:
        case ReasoningGym():
            seed = seed if source.seed is None else source.seed
            return data.from_reasoning_gym(source.task, source.size, seed, source.options, traced)
        case Jsonl():
            return data.from_jsonl(source.path, _columns(source))
        case Parquet():
            return data.from_parquet(source.path, _columns(source))
        case Hub():
            return data.from_hub(source.name, source.subset, source.split, source.revision, _columns(source))
    raise AssertionError(source)


def _columns(source: Columns) -> data.Columns:
    return data.Columns(source.question, source.answer, source.answer_after, source.completion)


def _load_model(settings: Recipe, base: str, policy: Path | None) -> nn.Module:
    """Load what a stage starts from: the base model, or the policy that the stage before it ended with."""
    section = settings.model
    whole = policy is not None and section.lora is None
    network = models.load_policy(
        str(policy) if whole else base,
        revision=None if whole else section.revision,
        dtype=section.dtype,
        attention=section.attention,
    )
    if section.lora is None:
        return network
    lora = section.lora
    return models.add_lora(
        network, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets, adapter=policy
    )


def _fit(
    settings: Recipe,
    plan: Plan,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    run: RunDirectory,
    watch: Watch,
    interrupt: Interrupt,
    resume_from: Path | None,
) -> nn.Module:
    trainer, stage = plan.stage.trainer, plan.stage
    total = trainer.rollouts_per_step if isinstance(trainer, Grpo) else trainer.batch
    schedule = Schedule(
        folder=run.stage_folder(stage.name),
        seed=settings.seed,
        steps=trainer.steps,
        learning_rate=trainer.learning_rate,
        schedule=trainer.schedule,
        warmup_steps=trainer.warmup_steps,
        max_grad_norm=trainer.max_grad_norm,
        micro_batch=trainer.micro_batch,
        accumulation=total // trainer.micro_batch,
        save_every=settings.checkpoints.every,
        keep=settings.checkpoints.keep,
        gradient_checkpointing=settings.model.gradient_checkpointing,
        trl=trainer.trl,
    )
    common = {
        "model": model,
        "tokenizer": tokenizer,
        "callbacks": [watch, interrupt],
        "resume_from": resume_from,
    }
    if isinstance(trainer, Sft):
        dataset = rollouts.completion_dataset(plan.tasks, plan.system)
        return fit_sft(schedule, dataset=dataset, max_length=trainer.max_length, **common)
    return fit_grpo(
        schedule,
        dataset=rollouts.prompt_dataset(plan.tasks, plan.system),
        reward=rollouts.RubricReward(_rubric(stage.rewards or settings.rewards), tokenizer),
        credit=_credit(stage.credit or settings.credit),
        observer=watch,
        trace_every=settings.telemetry.samples.every,
        trace_count=settings.telemetry.samples.count,
        num_generations=trainer.num_generations,
        max_completion_length=trainer.max_completion_length,
        temperature=trainer.temperature,
        beta=trainer.beta,
        epsilon=trainer.epsilon,
        num_iterations=trainer.num_iterations,
        loss_type=trainer.loss_type,
        **common,
    )


def _rubric(section: Rewards) -> Rubric:
    rewards = {name: REWARDS[name](**part.options) for name, part in section.parts.items()}
    return Rubric(rewards, {name: part.weight for name, part in section.parts.items()}, section.combine)


def _credit(section: Credit) -> CreditSettings | None:
    """Return the credit's settings; None is uniform credit, plain GRPO."""
    if not isinstance(section, Coupled):
        return None
    weigh = functools.partial(
        credit_rules.coupled,
        gain=section.gain,
        top_share=section.top_share,
        alpha=section.alpha,
        lookback=section.lookback,
        normalize=section.normalize,
    )
    near, far = section.horizon
    return CreditSettings(
        weigh=weigh,
        layers=section.layers,
        local_share=section.local_share,
        global_share=section.global_share,
        window=section.window,
        horizon=(near, far),
        reselect_every=section.reselect_every,
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
