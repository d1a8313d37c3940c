"""The definitions of arXiv 2510.13554, written down as they are read: dense, in float64, slow."""

import torch
from torch import Tensor

from rl.attention.bands import Attention


def attention_map(attention: Attention) -> Tensor:
    """A (B, H, T, T), rows of padding all zero."""
    q, k = attention.q.double(), attention.k.double()
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = q @ k.transpose(-1, -2) * attention.scale
    if attention.softcap is not None:
        scores = attention.softcap * torch.tanh(scores / attention.softcap)
    length = q.shape[2]
    t, s = torch.arange(length)[:, None], torch.arange(length)[None, :]
    seen = s <= t
    if attention.sliding is not None:
        seen = seen & (t - s < attention.sliding)
    scores = scores.masked_fill(~(seen & attention.keys[:, None, None, :]), -torch.inf)
    return torch.softmax(scores, -1).nan_to_num(0.0)


def waad(a: Tensor, window: int) -> Tensor:
    """Sum over s of A[t, s] min(t - s, W), for A (..., T, T)."""
    t = torch.arange(a.shape[-1])
    distance = (t[:, None] - t[None, :]).clamp(0, window).double()
    return (a * distance).sum(-1)


def mean_distance(a: Tensor) -> Tensor:
    """Sum over s of A[t, s] (t - s)."""
    t = torch.arange(a.shape[-1])
    return (a * (t[:, None] - t[None, :]).clamp(min=0).double()).sum(-1)


def fai(a: Tensor, response: Tensor, horizon: tuple[int, int]) -> Tensor:
    """Mean of A[t, s] over response rows t with s + lo <= t <= s + hi, 0 where there is none; loops on purpose."""
    out = torch.zeros(a.shape[:-1], dtype=torch.float64)
    length = a.shape[-1]
    for b in range(a.shape[0]):
        for s in range(length):
            rows = [t for t in range(s + horizon[0], min(s + horizon[1], length - 1) + 1) if response[b, t]]
            if rows:
                out[b, :, s] = a[b, :, rows, s].mean(-1)
    return out
