"""A kept rollout as a row of samples.jsonl."""

import math
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from rl.rollouts import KeptRollout

TOLD = ("effort", "average_length", "target_length", "length", "verdict")  # what a reward was told, where it was
DIGITS = 4  # significant digits of per-token numbers


def sample_row(kept: KeptRollout, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the row: texts, reward by part, advantage, and per token WAAD, FAI and weight (None: not measured)."""
    rollout = kept.rollout
    return {
        "group": kept.group,
        "prompt": rollout.prompt,
        "completion": rollout.sample.completion,
        "answer": rollout.sample.answer,
        "reward": {"total": rollout.score.total, **rollout.score.parts},
        "advantage": kept.advantage,
        "truncated": rollout.sample.truncated,
        **{name: value for name in TOLD if (value := getattr(rollout.sample, name)) is not None},
        "tokens": [str(tokenizer.decode([token])) for token in rollout.token_ids],
        "waad": _rounded(kept.waad),
        "fai": _rounded(kept.fai),
        "weight": _rounded(kept.weights),
        **{
            name: _rounded(values)
            for name, values in (("token_advantage", kept.advantages), ("value", kept.values))
            if values is not None
        },
        "anchor": _marked(kept.anchors),
        "preplan": _marked(kept.preplan),
    }


def _rounded(values: Sequence[float] | None) -> list[float | None] | None:
    if values is None:
        return None
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values]


def _marked(flags: Sequence[bool] | None) -> list[int] | None:
    return None if flags is None else [index for index, flag in enumerate(flags) if flag]
