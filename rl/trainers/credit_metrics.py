"""What credit does, as means over tokens since the last log."""

from collections.abc import Mapping
from typing import Any

import torch

from rl.trainers.token_credit import Reduce

# Metric name: what is summed, and over which tokens.
CREDIT_METRICS = {
    "credit/weight/mean": ("weights", "response"),
    "credit/selected/share": ("selected", "response"),
    "credit/anchor/share": ("anchors", "response"),
    "credit/dominated/share": ("dominated", "response"),
    "credit/delimiter_weight/mean": ("weights", "delimiters"),
    "credit/delimiter_selected/share": ("selected", "delimiters"),
    "attention/waad/mean": ("waad", "response"),
    "attention/fai/mean": ("fai", "response"),
}


class CreditMetrics:
    """Add up micro-batches, and reduce the sums over ranks, so that every token of a step counts alike."""

    def __init__(self) -> None:
        self._sums = torch.zeros(len(CREDIT_METRICS), 2, dtype=torch.float64)

    def add(self, batch: Mapping[str, Any]) -> None:
        """Count a micro-batch: `batch` holds a (B, T) tensor for each name in the table, but those not measured."""
        device = batch["weights"].device
        self._sums = self._sums.to(device)
        for index, (what, where) in enumerate(CREDIT_METRICS.values()):
            if what in batch:
                tokens = batch[where]
                pair = [(batch[what] * tokens).sum(dtype=torch.float64), tokens.sum(dtype=torch.float64)]
                self._sums[index] += torch.stack(pair)

    def take(self, reduce: Reduce, device: torch.device) -> dict[str, float]:
        """Return the means over all ranks, without those that no token counted for, and begin anew."""
        sums = reduce(self._sums.to(device)).tolist()
        self._sums = torch.zeros(len(CREDIT_METRICS), 2, dtype=torch.float64)
        return {name: total / tokens for name, (total, tokens) in zip(CREDIT_METRICS, sums, strict=True) if tokens}
