"""A traced rollout as a row of samples.jsonl."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from rl.rollouts import TracedRollout

DIGITS = 4  # significant digits of per-token numbers


def sample_row(traced: TracedRollout, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the row: texts, reward by part, advantage, and per token WAAD, FAI and weight (None: not measured)."""
    rollout = traced.rollout
    return {
        "group": traced.group,
        "prompt": rollout.prompt,
        "completion": rollout.sample.completion,
        "answer": rollout.sample.answer,
        "reward": {"total": rollout.score.total, **rollout.score.parts},
        "advantage": traced.advantage,
        "truncated": rollout.sample.truncated,
        "tokens": [str(tokenizer.decode([token])) for token in rollout.token_ids],
        "waad": _rounded(traced.waad),
        "fai": _rounded(traced.fai),
        "weight": _rounded(traced.weights),
        "anchor": _marked(traced.anchors),
        "preplan": _marked(traced.preplan),
    }


def _rounded(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else [float(f"{value:.{DIGITS}g}") for value in values]


def _marked(flags: Sequence[bool] | None) -> list[int] | None:
    return None if flags is None else [index for index, flag in enumerate(flags) if flag]
