"""Steps whose gradient is none are skipped and counted; too many in a row end the run with the weights before them.

Seams (transformers 5.17): _get_grad_norm, which comes right before the optimizer's step;
_load_optimizer_and_scheduler. Seams (DeepSpeed 0.19): scaled_global_norm and _get_norm_groups of its ZeRO optimizers,
which skip a step whose norm is no number; their `overflow`.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rl.trainers.alarms import Alarmed
from rl.trainers.saving import AtomicTrainer

SKIPPED = "optimizer/skipped/count"
FILE = "guard.json"  # in a checkpoint


class Guard:
    """Count skipped steps. `skip_above` 0 skips only what is no number; `skips` is how many in a row may be."""

    def __init__(self, skips: int = 5, skip_above: float = 0.0) -> None:
        self.skips, self.skip_above = skips, skip_above
        self.total = self._in_a_row = 0
        self._step, self._norm, self._above = 0, 0.0, math.nan

    def is_bad(self, norm: float) -> bool:
        """Say whether a gradient of this norm should not be stepped along."""
        return not math.isfinite(norm) or (self.skip_above > 0 and norm > self.skip_above)

    def note_above(self, norm: float) -> None:
        """Keep a norm above the limit, which DeepSpeed will not say."""
        self._above = norm

    def take_above(self) -> float:
        """Return the norm that note_above kept, if any, and forget it."""
        above, self._above = self._above, math.nan
        return above

    def count(self, step: int, norm: float, skipped: bool) -> None:
        """Take note of a step."""
        self.total += skipped
        self._in_a_row = self._in_a_row + 1 if skipped else 0
        self._step, self._norm = step, norm

    @property
    def is_over(self) -> bool:
        """Say whether more steps in a row were skipped than may be."""
        return self._in_a_row > self.skips

    def state(self) -> dict[str, int]:
        """Return what a checkpoint keeps."""
        return {"total": self.total, "in_a_row": self._in_a_row}

    def restore(self, state: Mapping[str, int]) -> None:
        """Take up what state returned; whoever resumes a run that had skipped too many wants to see more of it."""
        self.total, self._in_a_row = state["total"], state["in_a_row"]
        if self.is_over:
            self._in_a_row = 0

    def check(self) -> None:
        """Raise Alarmed where too many steps in a row were skipped."""
        if self.is_over:
            found = f"{self._norm:.3g}" if math.isfinite(self._norm) else "no number"
            raise Alarmed(
                f"{self._in_a_row} steps in a row were skipped, up to step {self._step}: the gradient's norm is "
                f"{found} (guard.skips, guard.skip_above); the weights are those before them"
            )


class GuardedTrainer(AtomicTrainer):
    """Skip a step whose gradient is bad: its gradients are dropped, and neither weights nor moments see it."""

    guard: Guard = Guard()

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        value = float(norm) if norm is not None else 0.0
        if self.is_deepspeed_enabled:
            skipped = bool(self.accelerator.optimizer_step_was_skipped)  # it has stepped by now, or has not
            norm = value = self.guard.take_above() if skipped else value  # what DeepSpeed says then is of another step
        else:
            scaled = self.accelerator.scaler is not None  # it looks for its scale by skipping what overflows
            skipped = self.guard.is_bad(value) and not (scaled and not math.isfinite(value))
            if skipped:
                for parameter in model.parameters():
                    parameter.grad = None
        self.guard.count(self.state.global_step + 1, value, skipped)
        if self.guard.is_over:
            self.control.should_save = self.control.should_training_stop = True
        return norm

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._prepare_for_training(*args, **kwargs)
        if self.is_deepspeed_enabled and self.guard.skip_above:
            _limit_norms(self.model_wrapped.optimizer, self.guard)  # pyright: ignore
        return prepared

    def _save_own(self, folder: Path) -> None:
        super()._save_own(folder)
        if self.args.process_index == 0:
            (folder / FILE).write_text(json.dumps(self.guard.state()), encoding="utf-8")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.guard.restore(json.loads((Path(checkpoint) / FILE).read_text(encoding="utf-8")))

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add how many steps were skipped, from the first on."""
        if self.guard.total and "loss" in logs:
            logs = {**logs, SKIPPED: float(self.guard.total)}
        super().log(logs, *args, **kwargs)


def _limit_norms(optimizer: Any, guard: Guard) -> None:
    """Have a ZeRO optimizer take a norm above the limit for none, so that it skips the step."""
    if hasattr(optimizer, "scaled_global_norm"):
        optimizer.scaled_global_norm = _limited(optimizer.scaled_global_norm, optimizer, guard, lambda norm: norm)
    else:
        optimizer._get_norm_groups = _limited(optimizer._get_norm_groups, optimizer, guard, _whole)


def _limited(
    measure: Callable[..., Any], optimizer: Any, guard: Guard, whole: Callable[[Any], Any]
) -> Callable[..., Any]:
    def measured(*args: Any, **kwargs: Any) -> Any:
        found = measure(*args, **kwargs)
        norm = float(whole(found)) / float(optimizer.loss_scale)
        if guard.is_bad(norm):
            guard.note_above(norm)
            return [norm * math.inf for norm in found] if isinstance(found, list) else found * math.inf
        return found

    return measured


def _whole(norms: list[Any]) -> Any:
    return torch.linalg.vector_norm(torch.stack([torch.as_tensor(norm).float() for norm in norms]))
