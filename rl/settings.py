"""From a recipe's trainer, credit and alarm sections to the settings of trainers."""

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.sft_config import SFTConfig

from rl import credit as credit_rules
from rl.deepspeed import zero_settings
from rl.own_rule import OwnRule
from rl.recipe.credit_sections import (
    Anchor,
    Coupled,
    Credit,
    Entropy,
    Own,
    Preplan,
    Probing,
    Random,
    Shuffled,
    Uniform,
    UniformGain,
)
from rl.recipe.section import Section
from rl.recipe.sections import Recipe, Stage
from rl.recipe.trainer_sections import Grpo, Ppo, Sft
from rl.trainers import (
    Alarm,
    Care,
    CreditSettings,
    Guard,
    PpoSettings,
    Schedule,
    TrainerError,
    grpo_config,
    ppo_config,
    sft_config,
)

SERVER = "RHYTHM_VLLM_URL"  # where the job that rhythm launched has its vLLM server


def trl_config(recipe: Recipe, stage: Stage, folder: Path, world: int = 1) -> SFTConfig | GRPOConfig:
    """Return TRL's settings for a stage of `world` processes whose checkpoints go to folder. Raises TrainerError."""
    trainer = stage.trainer
    micro_batch, accumulation = trainer.share(world)
    schedule = Schedule(
        folder=folder,
        seed=recipe.seed,
        steps=trainer.steps,
        learning_rate=trainer.learning_rate,
        schedule=trainer.schedule,
        warmup_steps=trainer.warmup_steps,
        max_grad_norm=trainer.max_grad_norm,
        micro_batch=micro_batch,
        accumulation=accumulation,
        save_every=recipe.checkpoints.every,
        gradient_checkpointing=recipe.model.gradient_checkpointing,
        precision=recipe.cluster.precision,
        deepspeed=deepspeed_settings(recipe, stage, world),
        patience_seconds=patience_hours(recipe) * 3600,
        trl=trainer.trl,
    )
    if isinstance(trainer, Sft):
        shuffled = trainer.order == "shuffled"
        return sft_config(schedule, max_length=trainer.max_length, shuffled=shuffled, packing=trainer.packing)
    shared = {
        "num_generations": trainer.num_generations,
        "generation_batch_size": trainer.rollouts,
        "max_completion_length": trainer.max_completion_length,
        "temperature": trainer.temperature,
        "epsilon": trainer.epsilon,
        "num_iterations": trainer.num_iterations,
        "loss_type": trainer.loss_type,
    }
    shared |= vllm_fields(recipe)
    if isinstance(trainer, Grpo):
        return grpo_config(schedule, beta=trainer.beta, **shared)
    return ppo_config(schedule, beta=trainer.kl.weight, **shared)


def deepspeed_settings(recipe: Recipe, stage: Stage, world: int) -> dict[str, Any] | None:
    """Return DeepSpeed's settings for a stage of `world` processes; None without ZeRO."""
    cluster, trainer = recipe.cluster, stage.trainer
    if cluster.zero == 0:
        return None
    micro_batch, accumulation = trainer.share(world)
    return zero_settings(
        cluster.zero,
        offload=cluster.offload,
        precision=cluster.precision,
        micro_batch=micro_batch,
        accumulation=accumulation,
        world=world,
        max_grad_norm=trainer.max_grad_norm,
    )


def check_installed(recipe: Recipe) -> None:
    """Raise TrainerError where what the cluster section asks for is not to be had here."""
    cluster = recipe.cluster
    if cluster.zero and find_spec("deepspeed") is None:
        raise TrainerError("cluster.zero: DeepSpeed is not installed here; pip install 'rhythm-rl[cluster]'")
    if cluster.precision == "float16" and not torch.accelerator.is_available():
        raise TrainerError("cluster.precision: float16 needs a GPU, and there is none; write bfloat16 or float32")
    if cluster.vllm.mode != "off" and find_spec("vllm") is None:
        raise TrainerError("cluster.vllm.mode: vLLM is not installed here; pip install 'rhythm-rl[vllm]'")


def vllm_fields(recipe: Recipe) -> dict[str, Any]:
    """Return what TRL is told of vLLM."""
    vllm = recipe.cluster.vllm
    if vllm.mode == "off":
        return {}
    fields = {"use_vllm": True, "vllm_mode": vllm.mode, "vllm_server_timeout": vllm.startup_minutes * 60.0}
    if vllm.mode == "server":
        return {**fields, "vllm_server_base_url": vllm.url or os.environ.get(SERVER) or f"http://127.0.0.1:{vllm.port}"}
    return {
        **fields,
        "vllm_gpu_memory_utilization": vllm.memory_share,
        "vllm_tensor_parallel_size": vllm.tensor_parallel,
    }


def patience_hours(recipe: Recipe) -> float:
    """Return how long a collective call may take: longer than a step, so that it is the guard that ends a run."""
    return 2 * recipe.guard.step_minutes / 60 or 24.0


def ppo_settings(trainer: Ppo) -> PpoSettings:
    """Return what PPO needs to know beside TRL's settings; a section's keys are the names in both."""
    sections = {"": trainer, "critic_": trainer.critic, "kl_": trainer.kl}
    said = {f"{prefix}{key}": value for prefix, section in sections.items() for key, value in section}
    known = {field.name: said[field.name] for field in fields(PpoSettings)}
    known["critic_clip"] = trainer.critic.clip or None
    known["kl_estimator"] = trainer.kl.estimator or ("k1" if trainer.kl.place == "reward" else "k3")
    return PpoSettings(**known)


def build_care(recipe: Recipe) -> Care:
    """Return how many checkpoints a stage keeps, and a guard over its steps."""
    return Care(recipe.checkpoints.keep, Guard(recipe.guard.skips, recipe.guard.skip_above))


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
    options = section.model_dump()
    if isinstance(section, Probing):
        near, far = section.horizon
        options |= {"horizon": (near, far), "separate": section.probe == "separate"}
    if isinstance(section, Own):
        options |= {"rule": OwnRule(section.rule, section.options), "reads": frozenset(section.reads)}
    else:
        rule, reads = RULES[type(section)]
        own = {name: options[name] for name in inspect.signature(rule).parameters if name in options}
        options |= {"rule": functools.partial(rule, **own), "reads": reads}
    return CreditSettings(
        **{field.name: options[field.name] for field in fields(CreditSettings) if field.name in options}
    )
