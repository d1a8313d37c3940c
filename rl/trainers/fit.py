"""Build a TRL trainer for one stage and run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerBase, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from rl.rollouts import RubricReward
from rl.trainers.attention_credit import CreditSettings
from rl.trainers.grpo import GrpoTrainer
from rl.trainers.observer import Observer


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
    keep: int
    gradient_checkpointing: bool = False
    trl: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Return the fields of transformers' TrainingArguments; `trl` overrides what it names."""
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
            "save_total_limit": self.keep,
            "logging_steps": 1,
            "disable_tqdm": True,
            "report_to": "none",
            "bf16": False,
            "remove_unused_columns": False,
            **self.trl,
        }


def fit_sft(
    schedule: Schedule,
    *,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    max_length: int,
    callbacks: Sequence[TrainerCallback],
    resume_from: Path | None,
) -> nn.Module:
    """Fine-tune on completions and return the trained model."""
    args = SFTConfig(max_length=max_length, completion_only_loss=True, **schedule.arguments())
    trainer = SFTTrainer(
        model=model,  # pyright: ignore
        args=args,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    return _train(trainer, resume_from)


def fit_grpo(
    schedule: Schedule,
    *,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    reward: RubricReward,
    credit: CreditSettings | None,
    observer: Observer,
    trace_every: int,
    trace_count: int,
    callbacks: Sequence[TrainerCallback],
    resume_from: Path | None,
    **settings: Any,
) -> nn.Module:
    """Train on rollouts and return the trained model; settings are further fields of TRL's GRPOConfig."""
    args = GRPOConfig(**settings, **schedule.arguments())
    trainer = GrpoTrainer(
        reward=reward,
        args=args,
        credit=credit,
        observer=observer,
        trace_every=trace_every,
        trace_count=trace_count,
        model=model,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    return _train(trainer, resume_from)


def _train(trainer: Any, resume_from: Path | None) -> nn.Module:
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # it prints a dict a step; rhythm shows progress itself
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    return trainer.accelerator.unwrap_model(trainer.model)
