"""Statistics of causal attention from queries and keys, tile by tile: no T x T tensor is ever made.

With scores s = scale * q . k (after softcap, window and mask) and each row's log-sum-exp lse_t,
A[t, s] = exp(s_ts - lse_t). All sums run in float32 whatever the model's dtype.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TILE = 128  # rows and keys in one tile of scores


@dataclass(frozen=True)
class Attention:
    """Hold what one layer attends with, post norm and RoPE: A is a function of these alone.

    Shapes: q (B, H, T, D), k (B, K, T, D) with head h reading key-value head h // (H / K), keys (B, T) true where a key
    is no padding. `softcap` bounds scores by softcap * tanh(s / softcap); `sliding` lets row t see
    keys t - sliding < s <= t.
    """

    q: Float[Tensor, "B H T D"]
    k: Float[Tensor, "B K T D"]
    keys: Bool[Tensor, "B T"]
    scale: float
    softcap: float | None = None
    sliding: int | None = None

    def of(self, heads: list[int]) -> "Attention":
        """Keep only the given heads, each with a key head of its own."""
        index = torch.tensor(heads, device=self.q.device)
        group = self.q.shape[1] // self.k.shape[1]
        return replace(self, q=self.q[:, index], k=self.k[:, index // group])


def _tile(attention: Attention, rows: slice, columns: slice) -> tuple[Float[Tensor, "B H R C"], Int[Tensor, "R C"]]:
    """Return the masked scores of a tile, -inf where unseen, and the backward distance t - s of each entry."""
    num_heads, num_key_heads = attention.q.shape[1], attention.k.shape[1]
    q = attention.q[:, :, rows].float().unflatten(1, (num_key_heads, num_heads // num_key_heads))
    k = attention.k[:, :, columns].float().unsqueeze(2)
    scores = (q @ k.transpose(-1, -2)).flatten(1, 2) * attention.scale
    if attention.softcap is not None:
        scores = attention.softcap * torch.tanh(scores / attention.softcap)
    device = scores.device
    distance = (
        torch.arange(rows.start, rows.stop, device=device)[:, None]
        - torch.arange(columns.start, columns.stop, device=device)[None, :]
    )
    seen = distance >= 0
    if attention.sliding is not None:
        seen = seen & (distance < attention.sliding)
    visible = seen & attention.keys[:, None, None, columns]
    return scores.masked_fill(~visible, -torch.inf), distance


def _slices(length: int, start: int = 0) -> Iterator[slice]:
    for low in range(start, length, TILE):
        yield slice(low, min(low + TILE, length))


def row_moments(attention: Attention) -> tuple[Float[Tensor, "B H T"], Float[Tensor, "B H T"]]:
    """Return each row's log-sum-exp and mean backward distance, sum_s A[t, s] (t - s), in one streaming pass.

    Distances are accumulated as p (t - s): subtracting a mean position from t would lose 2e-3 to cancellation.
    A row that sees no key (padding) gets lse = +inf, so that exp(s - lse) is 0, and distance 0.
    """
    batch, num_heads, length, _ = attention.q.shape
    lse = attention.q.new_empty(batch, num_heads, length, dtype=torch.float32)
    mean = torch.empty_like(lse)
    for rows in _slices(length):
        shape = (batch, num_heads, rows.stop - rows.start)
        peak = lse.new_full(shape, -torch.inf)
        total, moment = lse.new_zeros(shape), lse.new_zeros(shape)
        first = 0 if attention.sliding is None else max(0, (rows.start - attention.sliding + 1) // TILE * TILE)
        for columns in _slices(rows.stop, first):
            scores, distance = _tile(attention, rows, columns)
            higher = torch.maximum(peak, scores.amax(-1))
            shift = higher.masked_fill(higher.isinf(), 0.0)
            faded = torch.exp(peak - shift)
            p = torch.exp(scores - shift.unsqueeze(-1))
            total = total * faded + p.sum(-1)
            moment = moment * faded + (p * distance).sum(-1)
            peak = higher
        lse[:, :, rows] = torch.where(total > 0, peak + total.log(), torch.inf)
        mean[:, :, rows] = moment / total.clamp_min(torch.finfo(torch.float32).tiny)
    return lse, mean


def waad(attention: Attention, lse: Float[Tensor, "B H T"], window: int) -> Float[Tensor, "B H T"]:
    """Return WAAD_t = sum_s A[t, s] min(t - s, W) as W - sum_{d < W} (W - d) A[t, t - d] (arXiv 2510.13554).

    W diagonals, since rows sum to 1; a row that sees no key gets W, and is for the caller to mask.
    """
    out = torch.empty_like(lse)
    length = lse.shape[-1]
    for rows in _slices(length):
        columns = slice(max(0, rows.start - window + 1), rows.stop)
        scores, distance = _tile(attention, rows, columns)
        near = (window - distance).clamp(0, window).masked_fill(distance < 0, 0)
        out[:, :, rows] = window - (torch.exp(scores - lse[:, :, rows].unsqueeze(-1)) * near).sum(-1)
    return out


def fai(
    attention: Attention, lse: Float[Tensor, "B H T"], response: Bool[Tensor, "B T"], horizon: tuple[int, int]
) -> Float[Tensor, "B H T"]:
    """Return FAI_s = mean of A[t, s] over response rows t with s + lo <= t <= s + hi (arXiv 2510.13554).

    0 where no such row exists [ours]. hi - lo + 1 diagonals.
    """
    low, high = horizon
    out = torch.zeros_like(lse)
    length = lse.shape[-1]
    for columns in _slices(length):
        rows = slice(columns.start + low, min(columns.stop + high, length))
        if rows.start >= rows.stop:
            break
        scores, distance = _tile(attention, rows, columns)
        future = ((distance >= low) & (distance <= high)) & response[:, rows, None]
        p = torch.exp(scores - lse[:, :, rows].unsqueeze(-1)) * future.unsqueeze(1)
        out[:, :, columns] = p.sum(-2) / future.sum(-2).clamp_min(1).unsqueeze(1)
    return out
