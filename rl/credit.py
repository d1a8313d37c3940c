"""How much of its completion's advantage each token gets: pure functions from signals to weights.

Every rule gives a token it selects the weight `gain`, and any other token of the response `floor` (the paper's 1, below
which credit turns into pure weighting [ours]); 0 outside the response. Equations are those of arXiv 2510.13554,
version 2, where nothing else is said.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from rl.attention import Rhythm, num_heard

End = Literal["top", "bottom"]
Sign = Literal["both", "positive", "negative"]


@dataclass(frozen=True)
class Signals:
    """Hold what a rule may read of the tokens that the policy wrote, the `response`; each is None where not measured.

    `rhythm` holds WAAD, and FAI over the `horizon`; `entropy` (nats) is that of the
    distribution a token was drawn from; `noise` is uniform on [0, 1). A token that is not `eligible` (a delimiter or an
    attention sink, say) is never selected; None makes the whole response eligible.
    """

    response: Bool[Tensor, "B T"]
    rhythm: Rhythm | None = None
    horizon: tuple[int, int] = (10, 100)
    entropy: Float[Tensor, "B T"] | None = None
    noise: Float[Tensor, "B T"] | None = None
    eligible: Bool[Tensor, "B T"] | None = None

    def may(self) -> Bool[Tensor, "B T"]:
        """Return which tokens may be selected."""
        return self.response if self.eligible is None else self.response & self.eligible

    def of_attention(self) -> Rhythm:
        """Return the rhythm, which the rule needs."""
        assert self.rhythm is not None, "this rule needs WAAD and FAI"
        return self.rhythm


@dataclass(frozen=True)
class Credit:
    """Hold per-token weights, 0 outside the response, and which tokens are what.

    `selected` tokens are those that the rule gives more than the rest; `anchors` are the top share of FAI, `preplan`
    that of Delta, `dominated` the anchors that share their gain with an introductory token; None where the rule reads
    no attention.
    """

    weights: Float[Tensor, "B T"]
    selected: Bool[Tensor, "B T"]
    anchors: Bool[Tensor, "B T"] | None = None
    preplan: Bool[Tensor, "B T"] | None = None
    dominated: Bool[Tensor, "B T"] | None = None


def preplan_signal(waad: Float[Tensor, "B T"], response: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Return Delta_t = |WAAD_t - WAAD_{t+1}|; 0 where t or t + 1 is outside the response [ours]."""
    return (waad - _next(waad)).abs() * _has_next(response)


def choose(
    signal: Float[Tensor, "B T"],
    eligible: Bool[Tensor, "B T"],
    share: float,
    end: End = "top",
    defined: Bool[Tensor, "B T"] | None = None,
) -> Bool[Tensor, "B T"]:
    """Mark the share of each response's eligible tokens with the highest signal, or at the `bottom` the lowest.

    The earlier one first in a tie. The count is floor(share x eligible tokens), at least 1; a token where the signal is
    not `defined` (FAI of an empty horizon) is never marked, nor one whose signal is 0 at the top [ours].
    """
    count = (eligible.sum(-1, keepdim=True).double() * share + 1e-9).floor().clamp_min(1)
    candidates = eligible if defined is None else eligible & defined
    candidates = candidates & (signal > 0) if end == "top" else candidates
    worth = (signal if end == "top" else -signal).masked_fill(~candidates, -torch.inf)
    return (_ranks(worth) < count) & candidates


def uniform_gain(signals: Signals, *, gain: float = 1.2) -> Credit:
    """Return gamma_t = gain for every token: the step-size control of a rule whose mean weight is `gain`."""
    return Credit(weights=gain * signals.response.float(), selected=signals.response)


def preplan(
    signals: Signals, *, gain: float = 1.5, top_share: float = 0.4, floor: float = 1.0, end: End = "top"
) -> Credit:
    """Return gamma_t = 1 + (g - 1) 1{Delta_t in the top share}; Delta is defined where t + 1 is in the response."""
    delta = preplan_signal(signals.of_attention().waad, signals.response)
    chosen = choose(delta, signals.may(), top_share, end, _has_next(signals.response))
    return with_marks(_gain(signals, chosen, gain, floor), signals, top_share)


def anchor(
    signals: Signals, *, gain: float = 1.5, top_share: float = 0.4, floor: float = 1.0, end: End = "top"
) -> Credit:
    """Return gamma_t = 1 + (g - 1) 1{FAI_t in the top share}; FAI is defined where its horizon holds a token."""
    defined = num_heard(signals.response, signals.horizon) > 0
    chosen = choose(signals.of_attention().fai, signals.may(), top_share, end, defined)
    return with_marks(_gain(signals, chosen, gain, floor), signals, top_share)


def coupled(
    signals: Signals,
    *,
    gain: float = 1.5,
    top_share: float = 0.4,
    floor: float = 1.0,
    alpha: float = 0.5,
    lookback: int = 3,
) -> Credit:
    """Return coupled credit; terms add:

    gamma_t = 1 + (g - 1) 1{t in anchors, not D} + (1 - alpha) (g - 1) 1{t in D} + alpha (g - 1) 1{t in intro(D)}.
    Anchors are the top share of FAI. An anchor is dominated (in D) iff WAAD_t <= tau_waad and the largest Delta of the
    `lookback` tokens before it >= tau_delta; intro(t) is where that largest Delta is, the nearest in a tie. alpha,
    lookback and tau (the response's medians, the lower of two middles) are [ours], and so is a floor other than 1,
    which stands for both ones of the equation.
    """
    response, rhythm = signals.response, signals.of_attention()
    delta = preplan_signal(rhythm.waad, response)
    anchors = choose(rhythm.fai, signals.may(), top_share)
    before = delta.masked_fill(~signals.may(), -torch.inf)
    largest, lag = torch.stack([_shift(before, lag) for lag in range(1, lookback + 1)], dim=-1).max(-1)
    low = rhythm.waad <= _median(rhythm.waad, response)
    dominated = anchors & low & (largest >= _median(delta, response)) & largest.isfinite()
    intro = _introduced(dominated, lag + 1)
    share = (anchors & ~dominated) + (1 - alpha) * dominated + alpha * intro
    credit = Credit((floor + (gain - floor) * share) * response, anchors | intro, dominated=dominated)
    return with_marks(credit, signals, top_share)


def random(signals: Signals, *, gain: float = 1.5, top_share: float = 0.4, floor: float = 1.0) -> Credit:
    """Return gamma_t = 1 + (g - 1) 1{t in a random share}: the control for which tokens are selected."""
    assert signals.noise is not None, "random credit needs noise"
    return _gain(signals, choose(1 - signals.noise, signals.may(), top_share), gain, floor)


def shuffled(
    signals: Signals,
    *,
    gain: float = 1.5,
    top_share: float = 0.4,
    floor: float = 1.0,
    alpha: float = 0.5,
    lookback: int = 3,
) -> Credit:
    """Return coupled credit's own weights in a random order among the eligible tokens: the control for their places."""
    assert signals.noise is not None, "shuffled credit needs noise"
    credit = coupled(signals, gain=gain, top_share=top_share, floor=floor, alpha=alpha, lookback=lookback)
    places = (~signals.may()).int().argsort(dim=-1, stable=True)  # the eligible tokens, in order, then the rest
    order = signals.noise.masked_fill(~signals.may(), torch.inf).argsort(dim=-1, stable=True)
    weights, selected = (
        torch.empty_like(values).scatter_(-1, places, values.gather(-1, order))
        for values in (credit.weights, credit.selected)
    )
    return replace(credit, weights=weights, selected=selected)


def entropy(
    signals: Signals, *, gain: float = 1.5, top_share: float = 0.4, floor: float = 1.0, end: End = "top"
) -> Credit:
    """Return gamma_t = 1 + (g - 1) 1{H_t in the top share}, H_t the entropy of the distribution t was drawn from."""
    assert signals.entropy is not None, "entropy credit needs entropies"
    return _gain(signals, choose(signals.entropy, signals.may(), top_share, end), gain, floor)


def normalized(credit: Credit, response: Bool[Tensor, "B T"]) -> Credit:
    """Scale each response's weights to mean 1, so that credit does not change the step size [ours].

    A response whose weights are all 0 gets 1 everywhere.
    """
    total = credit.weights.sum(-1, keepdim=True)
    scaled = credit.weights * (response.sum(-1, keepdim=True) / total)
    return replace(credit, weights=torch.where(total > 0, scaled, response.float()))


def signed(
    credit: Credit,
    response: Bool[Tensor, "B T"],
    advantages: Float[Tensor, "B"] | Float[Tensor, "B T"],
    sign: Sign,
) -> Credit:
    """Keep credit where the advantage is `positive` (A >= 0, as in version 1) or `negative` (A < 0); 1 elsewhere.

    Advantages are a completion's, or each token's own.
    """
    if sign == "both":
        return credit
    kept = (advantages >= 0) == (sign == "positive")
    kept = kept.unsqueeze(-1) if kept.dim() == 1 else kept
    return replace(credit, weights=torch.where(kept, credit.weights, response.float()), selected=credit.selected & kept)


def _gain(signals: Signals, chosen: Bool[Tensor, "B T"], gain: float, floor: float) -> Credit:
    return Credit(weights=(floor + (gain - floor) * chosen) * signals.response, selected=chosen)


def with_marks(credit: Credit, signals: Signals, share: float) -> Credit:
    """Add which tokens are anchors and preplan tokens, whatever the rule selects."""
    rhythm = signals.of_attention()
    return replace(
        credit,
        anchors=choose(rhythm.fai, signals.may(), share),
        preplan=choose(preplan_signal(rhythm.waad, signals.response), signals.may(), share),
    )


def _next(x: Tensor) -> Tensor:
    return F.pad(x[:, 1:], (0, 1))


def _has_next(response: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    return response & _next(response)


def _ranks(worth: Float[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """Return each token's place in descending order, the earlier one first in a tie."""
    order = worth.argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(worth.shape[-1], device=worth.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)


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
