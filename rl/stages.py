"""The stages of a run: each from the policy of the one before, from its own newest checkpoint where it has one."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, set_seed
from trl.trainer.sft_config import SFTConfig

from rl import checkpoints, models, rollouts
from rl.exports import export
from rl.parts import Plan, build_critic, build_scorer, load_model
from rl.processes.company import Company
from rl.processes.group import Group
from rl.recipe.credit_sections import Coupled, probing
from rl.recipe.sections import Recipe
from rl.recipe.trainer_sections import Online, Ppo
from rl.settings import build_alarms, build_care, credit_settings, ppo_settings, trl_config
from rl.telemetry.head_tracker import HeadTracker, Tracking
from rl.telemetry.probe_set import Text
from rl.telemetry.progress import ProgressDisplay
from rl.telemetry.record import RunDirectory, RunError
from rl.telemetry.tracking import Tracker
from rl.telemetry.watch import Watch
from rl.tokens import end_ids
from rl.trainers import (
    Alarms,
    Care,
    GrpoTrainer,
    Interrupt,
    PpoTrainer,
    Pulse,
    Unwatched,
    fit_online,
    fit_sft,
    rename,
)


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


def run_stages(session: Session, plans: Sequence[Plan]) -> None:
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
            many = "1 process" if written_by == 1 else f"{written_by} processes"
            raise RunError(
                f"{checkpoint} was written by {many}, and cannot be taken up by {present}; start as many as before"
            )
        session.progress.say(f"resuming {plan.stage.name} from {checkpoint.name}")
    missing = session.run.rewind(ended, plan.stage.name, checkpoints.step_of(checkpoint) if checkpoint else 0)
    if missing > 0:
        session.progress.say(f"metrics.jsonl: {missing} steps before {checkpoint and checkpoint.name} are missing")
    return checkpoint


def _export(session: Session, plan: Plan, base: str, final: Path) -> None:
    """Write the policy of a stage that has made its last step, from its last checkpoint."""
    checkpoint = checkpoints.newest(final.parent, session.progress.say)
    if checkpoint is None or checkpoints.step_of(checkpoint) < plan.stage.trainer.steps:
        raise RunError(f"{final.parent}: the last checkpoint is damaged; resume, and its steps are made again")
    with models.unpartitioned():
        policy = load_model(session.recipe, base, checkpoint)
        export(policy, session.tokenizer, final, plan.use, checkpoint)
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
    try:
        model = load_model(recipe, base, policy)
    except models.ModelError as error:
        if policy is None:
            raise
        remedy = f"remove {policy} and resume, and it is written again from the stage's last checkpoint"
        raise RunError(f"{policy}: the policy cannot be read ({error}); {remedy}") from None
    watch = _watch(session, stage.name)
    tracker = _head_tracker(session, plan, watch)
    # The watch writes down what the alarms and the head tracker add to the metrics.
    watchers = [one for one in (alarms, watch, tracker) if one is not None]
    callbacks = [*watchers, session.interrupt, Pulse(session.company.watchdog.beat)]
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
        reward=build_scorer(recipe, plan, tokenizer, end_ids(model)),
        credit=credit_settings(stage.credit or recipe.credit),
        observer=watch or Unwatched(),
        watcher=tracker,
        keep_every=recipe.telemetry.samples.every,
        keep_count=recipe.telemetry.samples.count,
        **common,
    )


def _head_tracker(session: Session, plan: Plan, watch: Watch | None) -> HeadTracker | None:
    """Return what measures a stage's heads; its first texts are an sft stage's own, or else the first rollouts."""
    recipe, stage = session.recipe, plan.stage
    if recipe.telemetry.heads.every == 0:
        return None
    texts = None
    if not isinstance(stage.trainer, Online):
        chosen = rollouts.evenly(plan.tasks, recipe.telemetry.heads.sequences)
        rows: Any = rollouts.completion_dataset(chosen, plan.system, session.tokenizer, plan.dial)
        texts = [Text(*rollouts.tokens_of(row, session.tokenizer)) for row in rows]
    # The same in all stages, or a kind would mean another thing in each.
    kinds = probing(recipe.credit) or Coupled()
    return HeadTracker(
        Tracking(
            every=recipe.telemetry.heads.every,
            sequences=recipe.telemetry.heads.sequences,
            micro_batch=stage.trainer.share(session.group.place.world)[0],
            layers=kinds.layers,
            local_share=kinds.local_share,
            global_share=kinds.global_share,
        ),
        stage=stage.name,
        folder=session.path,
        tokenizer=session.tokenizer,
        texts=texts,
        saw=watch and watch.saw_snapshot,
        say=session.progress.say if session.group.place.is_main else _say_nothing,
    )


def _say_nothing(_: str) -> None:
    pass


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
