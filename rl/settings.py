"""From a recipe's trainer, credit and alarm sections to the settings of trainers."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.sft_config import SFTConfig

from rl import credit as credit_rules
from rl.recipe.credit_sections import (
    Anchor,
    Attentive,
    Coupled,
    Credit,
    Entropy,
    Preplan,
    Random,
    Shuffled,
    Uniform,
    UniformGain,
)
from rl.recipe.section import Section
from rl.recipe.sections import Recipe, Stage
from rl.recipe.trainer_sections import Grpo, Online, Ppo, Sft
from rl.trainers import Alarm, CreditSettings, PpoSettings, Schedule, TrainerError, grpo_config, ppo_config, sft_config


def trl_config(recipe: Recipe, stage: Stage, folder: Path) -> SFTConfig | GRPOConfig:
    """Return TRL's settings for a stage whose checkpoints go to folder. Raises TrainerError."""
    trainer = stage.trainer
    if trainer.trl.get("use_vllm") and find_spec("vllm") is None:
        raise TrainerError("trl.use_vllm: vLLM is not installed here; pip install 'rhythm-rl[vllm]', or leave it out")
    total = trainer.rollouts // trainer.updates if isinstance(trainer, Online) else trainer.batch
    schedule = Schedule(
        folder=folder,
        seed=recipe.seed,
        steps=trainer.steps,
        learning_rate=trainer.learning_rate,
        schedule=trainer.schedule,
        warmup_steps=trainer.warmup_steps,
        max_grad_norm=trainer.max_grad_norm,
        micro_batch=trainer.micro_batch,
        accumulation=total // trainer.micro_batch,
        save_every=recipe.checkpoints.every,
        keep=recipe.checkpoints.keep,
        gradient_checkpointing=recipe.model.gradient_checkpointing,
        trl=trainer.trl,
    )
    if isinstance(trainer, Sft):
        return sft_config(schedule, max_length=trainer.max_length, shuffled=trainer.order == "shuffled")
    shared = {
        "num_generations": trainer.num_generations,
        "generation_batch_size": trainer.rollouts,
        "max_completion_length": trainer.max_completion_length,
        "temperature": trainer.temperature,
        "epsilon": trainer.epsilon,
        "num_iterations": trainer.num_iterations,
        "loss_type": trainer.loss_type,
    }
    if isinstance(trainer, Grpo):
        return grpo_config(schedule, beta=trainer.beta, **shared)
    return ppo_config(schedule, beta=trainer.kl.weight, **shared)


def ppo_settings(trainer: Ppo) -> PpoSettings:
    """Return what PPO needs to know beside TRL's settings; a section's keys are the names in both."""
    sections = {"": trainer, "critic_": trainer.critic, "kl_": trainer.kl}
    said = {f"{prefix}{key}": value for prefix, section in sections.items() for key, value in section}
    known = {field.name: said[field.name] for field in fields(PpoSettings)}
    known["critic_clip"] = trainer.critic.clip or None
    known["kl_estimator"] = trainer.kl.estimator or ("k1" if trainer.kl.place == "reward" else "k3")
    return PpoSettings(**known)


def build_alarms(recipe: Recipe) -> list[Alarm]:
    """Return the alarms that a recipe sets."""
    sections = {"length": recipe.alarms.length, "entropy": recipe.alarms.entropy}
    return [
        Alarm(what, below=alarm.below, steps=alarm.steps, stops=alarm.action == "stop")
        for what, alarm in sections.items()
        if alarm is not None
    ]


RULES: dict[type[Section], tuple[Callable[..., credit_rules.Credit], frozenset[str]]] = {
    UniformGain: (credit_rules.uniform_gain, frozenset()),
    Preplan: (credit_rules.preplan, frozenset({"attention"})),
    Anchor: (credit_rules.anchor, frozenset({"attention"})),
    Coupled: (credit_rules.coupled, frozenset({"attention"})),
    Random: (credit_rules.random, frozenset({"noise"})),
    Shuffled: (credit_rules.shuffled, frozenset({"attention", "noise"})),
    Entropy: (credit_rules.entropy, frozenset({"entropy"})),
}
"""Kinds of credit: the rule, and what it reads."""


def credit_settings(section: Credit) -> CreditSettings | None:
    """Return the credit's settings; None is uniform credit, plain GRPO. A section's keys are the names in both."""
    if isinstance(section, Uniform):
        return None
    rule, reads = RULES[type(section)]
    options = section.model_dump()
    if isinstance(section, Attentive):
        near, far = section.horizon
        options |= {"horizon": (near, far), "separate": section.probe == "separate"}
    own = {name: options[name] for name in inspect.signature(rule).parameters if name in options}
    shared = {field.name: options[field.name] for field in fields(CreditSettings) if field.name in options}
    return CreditSettings(rule=functools.partial(rule, **own), reads=reads, **shared)
