"""Where every head looks in one text: a head's page in the report shows it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl.telemetry.jsonl import write_atomically

GAZE = "gaze.json"
ROWS = 256  # of a text, at most: a thousand heads come to a few megabytes


@dataclass(frozen=True)
class Gaze:
    """Hold a text, token by token, and for every head and row from `first` on its strongest key and what that gets.

    Shapes: peaks and tops (H, R) by layer; a peak is a place in tokens, a top a share of the row's attention.
    """

    tokens: list[str]
    first: int
    peaks: dict[int, list[list[int]]]
    tops: dict[int, list[list[float]]]

    def save(self, path: Path, stage: str, step: int) -> None:
        """Write it as JSON, in place of an earlier step's. Raises OSError."""
        said: dict[str, Any] = {"stage": stage, "step": step, "tokens": self.tokens, "first": self.first}
        tops = {layer: [[round(value, 3) for value in row] for row in rows] for layer, rows in self.tops.items()}
        write_atomically(path, json.dumps({**said, "peaks": self.peaks, "tops": tops}, allow_nan=False) + "\n")
