"""Build a TRL trainer for one stage and run it."""

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from pydantic import TypeAdapter, ValidationError
from torch import nn
from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from rl.scoring import Scorer
from rl.trainers.by_length import ByLength
from rl.trainers.grpo import GrpoTrainer
from rl.trainers.guard import Guard, GuardedTrainer
from rl.trainers.observer import BatchWatcher, Observer
from rl.trainers.ppo import PpoConfig
from rl.trainers.token_credit import CreditSettings


class TrainerError(ValueError):
    """Say which of a trainer's settings TRL refuses, and why."""


@dataclass(frozen=True)
class Schedule:
    """Hold what all trainers share: how long, how fast, how often to save, and where to."""

    folder: Path
    seed: int
    steps: int
    learning_rate: float
    schedule: str
    warmup_steps: int
    max_grad_norm: float
    micro_batch: int
    accumulation: int
    save_every: int
    gradient_checkpointing: bool = False
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    deepspeed: Mapping[str, Any] | None = None
    patience_seconds: float = 1800.0
    trl: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Return the fields of transformers' TrainingArguments; `trl` adds to them."""
        return {
            "output_dir": str(self.folder),
            "seed": self.seed,
            "data_seed": self.seed,
            "max_steps": self.steps,
            "learning_rate": self.learning_rate,
            "lr_scheduler_type": self.schedule,
            "warmup_steps": self.warmup_steps,
            "max_grad_norm": self.max_grad_norm,
            "per_device_train_batch_size": self.micro_batch,
            "gradient_accumulation_steps": self.accumulation,
            "gradient_checkpointing": self.gradient_checkpointing,
            "save_strategy": "steps",
            "save_steps": self.save_every,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "disable_tqdm": True,
            "dataloader_pin_memory": torch.accelerator.is_available(),
            "report_to": "none",
            "bf16": self.precision == "bfloat16",
            "fp16": self.precision == "float16",
            "use_cpu": not torch.accelerator.is_available(),
            "deepspeed": None if self.deepspeed is None else dict(self.deepspeed),
            "ddp_timeout": int(self.patience_seconds),
            "remove_unused_columns": False,
            **self.trl,
        }


@dataclass(frozen=True)
class Care:
    """Say how many checkpoints are kept, and which steps are skipped."""

    keep: int
    guard: Guard


def sft_config(schedule: Schedule, *, max_length: int, shuffled: bool, packing: bool = False) -> SFTConfig:
    """Return TRL's settings for completion-only SFT, in the data's order or shuffled or packed. Raises TrainerError."""
    return _config(
        SFTConfig,
        schedule,
        max_length=max_length,
        completion_only_loss=True,
        packing=packing,
        train_sampling_strategy="random" if shuffled else "sequential",
    )


def grpo_config(schedule: Schedule, **settings: Any) -> GRPOConfig:
    """Return TRL's settings for GRPO; settings are fields of GRPOConfig. Raises TrainerError."""
    return _config(GRPOConfig, schedule, **settings)


def ppo_config(schedule: Schedule, **settings: Any) -> PpoConfig:
    """Return TRL's settings for PPO; settings are fields of GRPOConfig. Raises TrainerError."""
    return _config(PpoConfig, schedule, **settings)


def _config(config: type, schedule: Schedule, **settings: Any) -> Any:
    hints = typing.get_type_hints(config)
    for name, value in schedule.trl.items():
        try:
            TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Input ")
            raise TrainerError(f"trl.{name}: {reason}, not {value!r}") from None
    try:
        return config(**settings, **schedule.arguments())
    except (ValueError, TypeError, ImportError) as error:
        raise TrainerError(f"trl: TRL refuses these settings: {str(error).splitlines()[0]}") from None


class _SftTrainer(GuardedTrainer, SFTTrainer):  # pyright: ignore
    args: SFTConfig

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:  # pyright: ignore
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        micro_batches = self.args.gradient_accumulation_steps * self.args.world_size  # of a step
        if self.args.train_sampling_strategy != "random" or self.args.packing or micro_batches == 1:
            return super()._get_train_sampler(train_dataset)
        lengths = [len(ids) for ids in rows["input_ids"]]
        return ByLength(lengths, self.args.train_batch_size * micro_batches, self.args.seed, self._epoch)

    def _epoch(self) -> int:
        return int(self.state.epoch or 0)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: TRL's would ask a wandb run that is offline for its address."""


def fit_sft(
    config: SFTConfig,
    *,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    care: Care,
    callbacks: Sequence[TrainerCallback],
    resume_from: Path | None,
) -> int:
    """Fine-tune on completions and return how many steps have been made."""
    trainer = _SftTrainer(
        model=model,  # pyright: ignore
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    return _train(trainer, care, resume_from)


def fit_online(
    build: Callable[..., GrpoTrainer],
    config: GRPOConfig,
    *,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    reward: Scorer,
    credit: CreditSettings | None,
    observer: Observer,
    watcher: BatchWatcher | None,
    keep_every: int,
    keep_count: int,
    care: Care,
    callbacks: Sequence[TrainerCallback],
    resume_from: Path | None,
) -> int:
    """Train on rollouts with GrpoTrainer, or another that takes the same, and return how many steps have been made."""
    trainer = build(
        reward=reward,
        args=config,
        credit=credit,
        observer=observer,
        watcher=watcher,
        keep_every=keep_every,
        keep_count=keep_count,
        model=model,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    try:
        return _train(trainer, care, resume_from)
    finally:
        reward.release()


def _train(trainer: Any, care: Care, resume_from: Path | None) -> int:
    trainer.keep, trainer.guard = care.keep, care.guard
    trainer.remove_callback(PrinterCallback)  # it prints a dict a step; rhythm shows progress itself
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    return trainer.state.global_step
