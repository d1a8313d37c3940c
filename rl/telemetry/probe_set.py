"""The fixed texts that a run's heads are measured on, and what its base model's heads are on them."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rl.emergence import Scores
from rl.telemetry.jsonl import write_atomically
from rl.telemetry.record import RunError

PROBE = "probe.json"
DIGITS = 6  # of a score


@dataclass(frozen=True, slots=True)
class Text:
    """Hold the tokens of a prompt and of what follows it."""

    prompt: Sequence[int]
    completion: Sequence[int]


@dataclass(frozen=True)
class ProbeSet:
    """Hold texts, and each head's scores and their spread (rl.emergence) under the model of `step` of `stage`."""

    stage: str
    step: int
    texts: Sequence[Text]
    base: Scores
    spread: Scores

    def save(self, path: Path) -> None:
        """Write it as JSON. Raises OSError."""
        said = {
            "stage": self.stage,
            "step": self.step,
            "texts": [{"prompt": list(text.prompt), "completion": list(text.completion)} for text in self.texts],
            "base": _plain(self.base),
            "spread": _plain(self.spread),
        }
        write_atomically(path, json.dumps(said, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "ProbeSet":
        """Read what save wrote. Raises RunError."""
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            texts = [Text(text["prompt"], text["completion"]) for text in said["texts"]]
            return cls(said["stage"], said["step"], texts, _scores(said["base"]), _scores(said["spread"]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            remedy = "put back a copy, or remove it and resume: heads are then compared with the policy of that step"
            raise RunError(f"{path}: cannot be read ({type(error).__name__}: {error}); {remedy}") from None


def padded(
    texts: Sequence[Text], pad: int, device: torch.device
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Return texts padded on the right: ids, mask, and which tokens follow the prompts."""
    longest = max(len(text.prompt) + len(text.completion) for text in texts)
    ids = torch.full((len(texts), longest), pad)
    mask, response = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, text in enumerate(texts):
        start, stop = len(text.prompt), len(text.prompt) + len(text.completion)
        ids[row, :stop] = torch.tensor([*text.prompt, *text.completion])
        mask[row, :stop] = 1
        response[row, start:stop] = True
    return ids.to(device), mask.to(device), response.to(device)


def rounded(values: Sequence[float]) -> list[float]:
    """Return numbers with the digits that files have, so that a run that reads them back says the same of them."""
    return [float(f"{value:.{DIGITS}g}") for value in values]


def finite(values: Sequence[float]) -> list[float | None]:
    """Return numbers as JSON has them, with None for what is none."""
    return [value if math.isfinite(value) else None for value in rounded(values)]


def _plain(scores: Scores) -> dict[str, dict[int, list[float | None]]]:
    return {name: {layer: finite(row) for layer, row in rows.items()} for name, rows in scores.items()}


def _scores(said: dict[str, dict[str, Any]]) -> dict[str, dict[int, list[float]]]:
    return {
        name: {
            int(layer): [math.nan if value is None else float(value) for value in row] for layer, row in rows.items()
        }
        for name, rows in said.items()
    }
