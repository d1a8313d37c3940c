"""How much of its completion's advantage each token gets: pure functions from attention to weights."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from rl.attention import Rhythm


@dataclass(frozen=True)
class Credit:
    """Hold per-token weights, 0 outside the response, and which tokens are what.

    `selected` tokens are those that the rule gives more than the rest; `anchors` are the top share of FAI, `preplan`
    that of Delta, `dominated` the anchors that share their gain with an introductory token.
    """

    weights: Float[Tensor, "B T"]
    selected: Bool[Tensor, "B T"]
    anchors: Bool[Tensor, "B T"]
    preplan: Bool[Tensor, "B T"]
    dominated: Bool[Tensor, "B T"]


def preplan_signal(waad: Float[Tensor, "B T"], response: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Return Delta_t = |WAAD_t - WAAD_{t+1}| (arXiv 2510.13554); 0 where t or t + 1 is outside the response [ours]."""
    after = F.pad(waad[:, 1:], (0, 1))
    both = response & F.pad(response[:, 1:], (0, 1))
    return (waad - after).abs() * both


def top(signal: Float[Tensor, "B T"], response: Bool[Tensor, "B T"], share: float) -> Bool[Tensor, "B T"]:
    """Mark the share of each response's tokens with the highest signal, the earlier one first in a tie.

    The count is floor(share x length), at least 1; a token whose signal is 0 (FAI of an empty horizon)
    is never marked [ours].
    """
    count = (response.sum(-1, keepdim=True).double() * share + 1e-9).floor().clamp_min(1)
    order = signal.masked_fill(~response, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    place = torch.empty_like(order)
    place.scatter_(-1, order, torch.arange(signal.shape[-1], device=signal.device).expand_as(order))
    return (place < count) & response & (signal > 0)


def coupled(
    rhythm: Rhythm,
    response: Bool[Tensor, "B T"],
    *,
    gain: float = 1.5,
    top_share: float = 0.4,
    alpha: float = 0.5,
    lookback: int = 3,
    normalize: bool = False,
) -> Credit:
    """Return coupled credit (arXiv 2510.13554, version 2); terms add:

    gamma_t = 1 + (g - 1) 1{t in anchors, not D} + (1 - alpha) (g - 1) 1{t in D} + alpha (g - 1) 1{t in intro(D)}.
    Anchors are the top share of FAI. An anchor is dominated (in D) iff WAAD_t <= tau_waad and the largest Delta of the
    `lookback` tokens before it >= tau_delta; intro(t) is where that largest Delta is, the nearest in a tie. alpha,
    lookback and tau (the response's medians, the lower of two middles) are [ours]. `normalize` makes the response's
    mean weight 1 [ours].
    """
    delta = preplan_signal(rhythm.waad, response)
    anchors = top(rhythm.fai, response, top_share)
    behind = torch.stack(
        [_shift(delta.masked_fill(~response, -torch.inf), lag) for lag in range(1, lookback + 1)], dim=-1
    )
    largest, lag = behind.max(-1)
    low = rhythm.waad <= _median(rhythm.waad, response)
    dominated = anchors & low & (largest >= _median(delta, response)) & largest.isfinite()
    intro = _introduced(dominated, lag + 1)
    bonus = gain - 1
    weights = 1 + bonus * (anchors & ~dominated) + (1 - alpha) * bonus * dominated + alpha * bonus * intro
    weights = weights * response
    if normalize:
        weights = weights * (response.sum(-1, keepdim=True) / weights.sum(-1, keepdim=True).clamp_min(1e-9))
    return Credit(
        weights=weights,
        selected=anchors | intro,
        anchors=anchors,
        preplan=top(delta, response, top_share),
        dominated=dominated,
    )


def _shift(signal: Float[Tensor, "B T"], lag: int) -> Float[Tensor, "B T"]:
    return F.pad(signal, (lag, 0), value=-torch.inf)[:, : signal.shape[1]]


def _median(signal: Float[Tensor, "B T"], response: Bool[Tensor, "B T"]) -> Float[Tensor, "B 1"]:
    """Return each response's median, the lower of two middles; +inf for an empty response."""
    ordered = signal.masked_fill(~response, torch.inf).sort(-1).values
    middle = (response.sum(-1, keepdim=True) - 1).clamp_min(0) // 2
    return ordered.gather(-1, middle)


def _introduced(dominated: Bool[Tensor, "B T"], lag: Tensor) -> Bool[Tensor, "B T"]:
    """Mark the introductory token of every dominated one; a token that introduces two is marked once."""
    at = (torch.arange(dominated.shape[1], device=dominated.device) - lag).clamp_min(0)
    marks = torch.zeros_like(dominated, dtype=torch.int64)
    return marks.scatter_add_(-1, at, dominated.long()) > 0
