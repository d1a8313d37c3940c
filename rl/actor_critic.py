"""PPO's equations as pure functions: token rewards, GAE, whitening, the critic's loss.

A state is what stands before a token; rows are completions, the `response` those tokens that the policy wrote.
Whatever stands elsewhere (padding, a tool's answers, nan) changes nothing.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

Reduce = Callable[[Tensor], Tensor]
BLOCK = 128  # tokens of one matrix product in a discounted sum
EPSILON = 1e-8  # added to a variance that is divided by


def token_rewards(
    scores: Float[Tensor, "B"], kl: Float[Tensor, "B T"] | None, weight: float, response: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Return r_t = -weight * KL_t, and at the response's last token its score on top (arXiv 2203.02155)."""
    last = response & (response.cumsum(-1) == response.sum(-1, keepdim=True))
    rewards = torch.where(last, scores.unsqueeze(-1), 0.0)
    return rewards if kl is None else rewards - weight * kl.masked_fill(~response, 0.0)


def gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    response: Bool[Tensor, "B T"],
    last_values: Float[Tensor, "B"],
    gamma: float,
    gae_lambda: float,
) -> Float[Tensor, "B T"]:
    """Return generalized advantage estimates (arXiv 1506.02438), 0 outside the response:

    A_t = sum_k (gamma lambda)^k delta_{t+k}, delta_t = r_t + gamma V_{t+1} - V_t, over the response alone: t + 1 is the
    next token of it. V behind the last one is `last_values`: 0 where the completion ended.
    """
    order = (~response).long().argsort(dim=-1, stable=True)  # response tokens first, in their order
    count = response.sum(-1, keepdim=True)
    place = torch.arange(response.shape[1], device=response.device)
    there = place < count
    r, v = (x.masked_fill(~response, 0.0).gather(-1, order) for x in (rewards, values))
    following = torch.where(place == count - 1, last_values.unsqueeze(-1), pad(v[:, 1:], (0, 1)))
    delta = (r + gamma * following - v).masked_fill(~there, 0.0)
    return torch.zeros_like(v).scatter(-1, order, _discounted(delta, gamma * gae_lambda))


def _discounted(terms: Float[Tensor, "B T"], decay: float) -> Float[Tensor, "B T"]:
    """Return S_t = x_t + decay * S_{t+1}: inside a block by a triangular product, between blocks one after another."""
    rows, length = terms.shape
    blocks = pad(terms, (0, -length % BLOCK)).view(rows, -1, BLOCK)
    place = torch.arange(BLOCK, device=terms.device)
    distance = (place - place.unsqueeze(-1)).clamp_min(0)
    powers = torch.full((), decay, dtype=terms.dtype, device=terms.device) ** torch.arange(BLOCK + 1).to(terms)
    sums = blocks @ powers[distance].triu().T
    after = torch.zeros_like(sums[:, :, 0])
    for block in range(sums.shape[1] - 2, -1, -1):
        after[:, block] = sums[:, block + 1, 0] + powers[BLOCK] * after[:, block + 1]
    sums = sums + after.unsqueeze(-1) * powers[1:].flip(0)
    return sums.view(rows, -1)[:, :length]


def whitened(x: Float[Tensor, "B T"], where: Bool[Tensor, "B T"], reduce: Reduce) -> Float[Tensor, "B T"]:
    """Return (x - mean) / sqrt(variance + 1e-8), of the tokens `where`, over all ranks; 0 elsewhere.

    `reduce` sums a tensor over ranks. The variance is the population's.
    """
    mean, variance = _moments(x, where, reduce)
    return ((x - mean) * (variance + EPSILON).rsqrt()).masked_fill(~where, 0.0)


def explained_variance(
    values: Float[Tensor, "B T"], returns: Float[Tensor, "B T"], where: Bool[Tensor, "B T"], reduce: Reduce
) -> float | None:
    """Return 1 - Var(R - V) / Var(R) over all ranks: 1 is a perfect critic, 0 one that knows nothing.

    None where returns do not differ.
    """
    _, left = _moments(returns - values, where, reduce)
    _, total = _moments(returns, where, reduce)
    return None if total < EPSILON else float(1 - left / total)


def _moments(x: Tensor, where: Tensor, reduce: Reduce) -> tuple[Tensor, Tensor]:
    """Return mean and variance over all ranks; the variance of deviations, since squares of the whole would cancel."""
    x = x.masked_fill(~where, 0.0)
    total, count = reduce(torch.stack([x.sum(), where.sum().to(x)]))
    mean = total / count.clamp_min(1.0)
    squares = reduce((x - mean).masked_fill(~where, 0.0).square().sum())
    return mean, squares / count.clamp_min(1.0)


def value_loss(
    values: Float[Tensor, "B T"], old_values: Float[Tensor, "B T"], returns: Float[Tensor, "B T"], clip: float | None
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Return each token's loss of the critic, and where clipping decided it.

    L_t = 1/2 max((V_t - R_t)^2, (clip(V_t, V_old - c, V_old + c) - R_t)^2): a value that has left its old one by more
    than c towards its return has no gradient any more. None does not clip.
    """
    squared = (values - returns).square()
    if clip is None:
        return 0.5 * squared, torch.zeros_like(returns, dtype=torch.bool)
    held = (old_values + (values - old_values).clamp(-clip, clip) - returns).square()
    return 0.5 * torch.maximum(squared, held), held > squared
