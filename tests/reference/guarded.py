"""Train three steps under ZeRO; in the second, one process alone has a bad gradient. Write down what came of it.

torchrun --nproc-per-node 2 tests/reference/guarded.py FOLDER zero2|zero3 nan|large
"""

import math
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reference import grpo

from rl.deepspeed import zero_settings
from rl.processes.group import join
from rl.processes.place import find_place
from rl.trainers import Guard


class Weights(TrainerCallback):
    """Find out which steps changed the policy."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.changed = trainer, []
        self._before: dict[str, Tensor] = {}
        trainer.add_callback(self)

    def _now(self) -> dict[str, Tensor]:
        found = self.trainer.accelerator.get_state_dict(self.trainer.model_wrapped)
        return {name: weight.detach().clone() for name, weight in (found or {}).items()}

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._before = self._now()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        now = self._now()
        self.changed.append(not grpo.same(now, self._before))
        self._before = now


def spoil_losses(trainer: Any, steps: tuple[int, ...], factor: float) -> None:
    """Have the loss of some steps be multiplied, and so their gradient."""
    compute = trainer._compute_loss

    def spoilt(model: Any, inputs: Any) -> Tensor:
        loss = compute(model, inputs)
        return loss * factor if trainer.state.global_step + 1 in steps else loss

    trainer._compute_loss = spoilt


def main() -> None:
    folder, how, above = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    join(find_place(), hours=0.1, deepspeed=True)
    zero: Any = int(how[-1])
    settings = zero_settings(zero, micro_batch=4, accumulation=1, world=world, max_grad_norm=1.0)
    changes = {"per_device_train_batch_size": 4, "deepspeed": settings, "use_cpu": True, "optim": "adamw_torch"}
    trainer = grpo.trainer(folder / "run", grpo.CREDIT, rollout_func=grpo.rollouts_by_place, **changes)
    trainer.guard = Guard(skips=5, skip_above=0.0 if above == "nan" else 1e3)
    if rank == 1:
        spoil_losses(trainer, (2,), math.nan if above == "nan" else 1e6)
    weights = Weights(trainer)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    changed = weights.changed  # under ZeRO-3 all hold what is gathered, or the main process alone
    torch.save(
        {"changed": changed, "skipped": trainer.guard.total, "norms": [row["grad_norm"] for row in rows]},
        folder / f"{rank}.pt",
    )


if __name__ == "__main__":
    main()
