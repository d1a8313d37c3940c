"""Pack the samples for the page: only what the viewer shows, short numbers, never more than a page can hold."""

import math
from typing import Any

from rl.report.rundata import Row, number

SEEN = ("waad", "fai", "weight", "token_advantage", "value", "anchor", "preplan")
SAMPLE_LIMIT = 2_000
TOKEN_LIMIT = 600_000


def pack_samples(rows: list[Row]) -> tuple[list[Row], str]:
    """Return the samples to embed and a sentence about those left out; a large run is thinned evenly."""
    tokens = sum(len(row["tokens"]) for row in rows if isinstance(row.get("tokens"), list))
    stride = max(math.ceil(len(rows) / SAMPLE_LIMIT), math.ceil(tokens / TOKEN_LIMIT), 1)
    kept = [_pack(row) for row in rows[::stride]]
    if stride == 1:
        return kept, ""
    return kept, f"Showing {len(kept):,} of {len(rows):,} samples, evenly spaced, to keep the page light."


def _pack(row: Row) -> Row:
    reward = row.get("reward")
    parts = reward if isinstance(reward, dict) else {"total": reward}
    tokens = row.get("tokens")
    return {
        "stage": str(row.get("stage", "")),
        "step": number(row.get("step")),
        "group": number(row.get("group")),
        "prompt": _text(row.get("prompt")),
        "completion": _text(row.get("completion")),
        "answer": _text(row.get("answer")),
        "reward": {str(name): number(value) for name, value in parts.items()},
        "advantage": number(row.get("advantage")),
        "truncated": bool(row.get("truncated")),
        "tokens": [_text(token) for token in tokens] if isinstance(tokens, list) else [],
        **{name: _numbers(row.get(name)) for name in SEEN},
    }


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _numbers(value: Any) -> list[int | float | None] | None:
    return [number(entry) for entry in value] if isinstance(value, list) else None
