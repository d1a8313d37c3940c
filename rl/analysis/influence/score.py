"""How much worse a policy reads each row without its retrieval heads (arXiv 2505.07293).

A row's influence is (L_masked - L_base) / L_base, L the mean loss of its tokens: of question and completion, not of the
chat template around them [ours], or of a text but for its first.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from rl.analysis.question import put
from rl.analysis.traces import AnalysisError
from rl.attention import Head, uniform
from rl.policy import Policy

WINDOW = 16  # batches whose rows are sorted by length, so that little of a batch is padding


@dataclass(frozen=True)
class Read:
    """Hold a row in tokens, and which of them count; `cut` where it was longer than allowed."""

    ids: Sequence[int]
    counted: Sequence[bool]
    cut: bool


def read_row(policy: Policy, where: str, row: Mapping[str, Any], text: str | None, most: int) -> Read:
    """Return a row of a text column, or of question and completion, or of a question alone. Raises AnalysisError."""
    if text is not None:
        ids = policy.ids(_text(row, text, where))
        return _cut(ids, [place > 0 for place in range(len(ids))], most)
    ids, (start, stop) = put(policy, where, _text(row, "question", where))
    counted = [start <= place < stop and place > 0 for place in range(len(ids))]
    if row.get("completion") is not None:
        completion = policy.ids(_text(row, "completion", where).removeprefix(policy.opening))
        ids, counted = ids + completion, counted + [True] * len(completion)
    return _cut(ids, counted, most)


def influences(
    policy: Policy, rows: Iterable[Read], heads: Sequence[Head], *, batch: int
) -> Iterator[list[float | None]]:
    """Yield what rows score, in their order, some batches at a time; None for a row without a finite score."""
    window: list[Read] = []
    for row in rows:
        window.append(row)
        if len(window) == batch * WINDOW:
            yield _scored(policy, window, heads, batch)
            window = []
    if window:
        yield _scored(policy, window, heads, batch)


def _scored(policy: Policy, window: Sequence[Read], heads: Sequence[Head], batch: int) -> list[float | None]:
    found: dict[int, float | None] = {}
    order = sorted(range(len(window)), key=lambda place: -len(window[place].ids))
    order = [place for place in order if any(window[place].counted)]
    for start in range(0, len(order), batch):
        part = [window[place] for place in order[start : start + batch]]
        base, masked = _losses(policy, part, ()), _losses(policy, part, heads)
        for place, left, right in zip(order[start : start + batch], base, masked, strict=True):
            score = (right - left) / left if left > 0 else math.nan
            found[place] = score if math.isfinite(score) else None
    return [found.get(place) for place in range(len(window))]


def _losses(policy: Policy, part: Sequence[Read], heads: Sequence[Head]) -> list[float]:
    """Return the mean loss of each row's tokens, in nats, where `heads` look at all that they may see alike."""
    longest, device = max(len(one.ids) for one in part), policy.model.device
    pad = int(policy.tokenizer.pad_token_id)  # pyright: ignore
    ids = torch.tensor([[*one.ids, *[pad] * (longest - len(one.ids))] for one in part], device=device)
    mask = torch.tensor([[1] * len(one.ids) + [0] * (longest - len(one.ids)) for one in part], device=device)
    with torch.no_grad(), uniform(policy.model, heads) if heads else nullcontext():
        logits = policy.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        losses = []
        for row, one in enumerate(part):
            counted = torch.tensor(one.counted[1:], device=device)
            own = logits[row, : len(one.ids) - 1][counted].float()
            losses.append(float(F.cross_entropy(own, ids[row, 1 : len(one.ids)][counted])))
    return losses


def _cut(ids: Sequence[int], counted: Sequence[bool], most: int) -> Read:
    return Read(ids[:most], counted[:most], len(ids) > most)


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        there = ", ".join(row) or "none"
        raise AnalysisError(f"{where}: column {column!r} should hold text; columns there: {there}; see --text")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise AnalysisError(f"{where}: column {column!r} holds half of a surrogate pair, which is no text; mend it")
    return value
