"""Heads that look back at few sentences, and what those sentences get of them (arXiv 2506.19143)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl.analysis.anchors.marked import Marked
from rl.attention import Head, ReceivedReader, kurtosis, read
from rl.emergence import num_receivers
from rl.policy import Policy


@dataclass(frozen=True)
class Receivers:
    """Hold the score of every head that can be scored, the heads with the largest, and what sentences get of these.

    A score is the Fisher kurtosis over sentences of the attention that they receive, mean over traces. `received` is
    the mean over the receiver heads, for each trace and sentence; None for sentences with none at least 4 later.
    """

    scores: Mapping[Head, float]
    heads: Sequence[Head]
    received: Sequence[Sequence[float | None]]


def find_receivers(
    policy: Policy, traces: Sequence[Marked], layers: Sequence[int], *, batch: int, heard: Callable[[int], None]
) -> Receivers:
    """Score all heads of `layers` on traces, `batch` of them in a pass, and tell `heard` how many are done."""
    found: list[dict[int, Float[Tensor, "H S"]]] = []
    for start in range(0, len(traces), batch):
        part = traces[start : start + batch]
        found += _received(policy, part, layers)
        heard(len(part))
    scores = _scores([{layer: kurtosis(values[None])[0] for layer, values in one.items()} for one in found])
    heads = sorted(scores, key=lambda head: (-scores[head], head))[: num_receivers(len(scores))]
    return Receivers(scores, heads, [_mean(one, heads) for one in found])


def _received(policy: Policy, part: Sequence[Marked], layers: Sequence[int]) -> list[dict[int, Float[Tensor, "H S"]]]:
    """Pass traces, padded on the right, through the model."""
    longest = max(len(one.ids) for one in part)
    pad, device = int(policy.tokenizer.pad_token_id), policy.model.device  # pyright: ignore
    ids = torch.tensor([one.ids + [pad] * (longest - len(one.ids)) for one in part], device=device)
    mask = torch.tensor([[1] * len(one.ids) + [0] * (longest - len(one.ids)) for one in part], device=device)
    reader = ReceivedReader(mask.bool(), [one.sentences for one in part])
    read(policy.model, ids, mask, layers, reader)
    return [{layer: values.cpu() for layer, values in one.items()} for one in reader.received()]


def _scores(each: Sequence[Mapping[int, Float[Tensor, "H"]]]) -> dict[Head, float]:
    """Return each head's mean over the traces that it has a score in."""
    scores: dict[Head, float] = {}
    for layer in each[0] if each else ():
        table = torch.stack([one[layer] for one in each])
        means = torch.where(table.isfinite(), table, torch.nan).nanmean(0)
        scores |= {(layer, head): value for head, value in enumerate(means.tolist()) if math.isfinite(value)}
    return scores


def _mean(received: Mapping[int, Float[Tensor, "H S"]], heads: Sequence[Head]) -> list[float | None]:
    count = next(iter(received.values())).shape[1]
    if not heads:
        return [None] * count
    values = torch.stack([received[layer][head] for layer, head in heads]).mean(0).tolist()
    return [value if math.isfinite(value) else None for value in values]
