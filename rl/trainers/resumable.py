"""TRL's GRPO trainer, made to resume as if it had never stopped, which it does not by itself.

Seams (TRL 1.16): _step, _buffered_inputs, _get_train_sampler, _load_optimizer_and_scheduler, _load_from_checkpoint.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from rl.scoring import Scorer
from rl.trainers.batch import Batch
from rl.trainers.guard import GuardedTrainer
from rl.trainers.state import (
    load_batches,
    load_frozen,
    rollouts_from_json,
    rollouts_to_json,
    save_batches,
    save_frozen,
)
from rl.trainers.token_credit import TokenCredit


class ResumableTrainer(GuardedTrainer, GRPOTrainer):  # pyright: ignore
    """Keep in checkpoints what TRL does not: its own count of steps, rollouts that wait, and what ours add to it."""

    args: GRPOConfig
    reward: Scorer
    credit: TokenCredit | None
    _sampler: Any = None

    @property
    def _generate_every(self) -> int:
        """Count the micro-batches that are trained on between two generations."""
        assert self.args.steps_per_generation is not None
        return self.args.steps_per_generation * self.num_iterations

    def _own_state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside what every trainer's keeps, as JSON data."""
        return {}

    def _restore_own(self, state: dict[str, Any]) -> None:
        """Take up what _own_state returned."""

    def _get_train_sampler(self, dataset: Any = None) -> Any:  # pyright: ignore
        self._sampler = super()._get_train_sampler(dataset)
        return self._sampler

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: TRL's would ask a wandb run that is offline for its address."""

    def _save_own(self, folder: Path) -> None:
        super()._save_own(folder)
        stem = folder / f"rhythm-rank{self.args.process_index}"
        fresh = self._step % self._generate_every == 0
        batches: list[Batch] = [] if fresh else self._buffered_inputs  # pyright: ignore
        save_batches(batches, stem.with_suffix(".safetensors"))
        save_frozen(self.reward.judge, folder, self.args.process_index)
        state = {
            "step": self._step,
            "scorer": self.reward.state(),
            "credit": self.credit.state() if self.credit else None,
            "trainer": self._own_state(),
            "rollouts": [] if fresh else rollouts_to_json(self.reward.rollouts),
        }
        stem.with_suffix(".json").write_text(json.dumps(state), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        adapter = Path(resume_from_checkpoint) / "adapter_model.safetensors"
        if isinstance(self.model, PeftModel) and adapter.is_file():
            # Where adapters have folders, as TRL's reference has, transformers loads those and leaves this one fresh.
            set_peft_model_state_dict(self.model, load_file(adapter), adapter_name="default")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        stem = Path(checkpoint) / f"rhythm-rank{self.args.process_index}"
        state = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        self._step = state["step"]
        if self.credit is not None:
            self.credit.restore(state["credit"])
        self.reward.restore(state["scorer"])
        load_frozen(self.reward.judge, Path(checkpoint), self.args.process_index, state["scorer"]["copy_taken_at"])
        self.reward.rollouts = rollouts_from_json(state["rollouts"])
        self._restore_own(state["trainer"])
        self._buffered_inputs = load_batches(stem.with_suffix(".safetensors"), self.accelerator.device) or None
        # The sampler draws one permutation an epoch from a generator of its own, which starts anew in a resumed run.
        for _ in range(math.floor(self.state.epoch or 0) if self._sampler.shuffle else 0):
            torch.randperm(self._sampler.num_samples, generator=self._sampler.generator)
