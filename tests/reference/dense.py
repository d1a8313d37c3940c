"""The definitions of arXiv 2510.13554, written down as they are read: dense, in float64, slow."""

import torch
from torch import Tensor

from rl.attention import Rhythm, RhythmReader
from rl.attention.layer import Attention


def attention_map(attention: Attention) -> Tensor:
    """A (B, H, T, T), rows of padding all zero."""
    q, k = attention.q.double(), attention.k.double()
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = q @ k.transpose(-1, -2) * attention.scale
    if attention.softcap is not None:
        scores = attention.softcap * torch.tanh(scores / attention.softcap)
    length = q.shape[2]
    place = torch.arange(length, device=q.device)
    t, s = place[:, None], place[None, :]
    seen = s <= t
    if attention.sliding is not None:
        seen = seen & (t - s < attention.sliding)
    scores = scores.masked_fill(~(seen & attention.keys[:, None, None, :]), -torch.inf)
    if attention.sink_logits is None:
        return torch.softmax(scores, -1).nan_to_num(0.0)
    sink = attention.sink_logits.double()[:, None, None].expand(*scores.shape[:-1], 1)
    return torch.softmax(torch.cat([scores, sink], -1), -1)[..., :-1]


def waad(a: Tensor, window: int) -> Tensor:
    """Sum over s of A[t, s] min(t - s, W), for A (..., T, T)."""
    t = torch.arange(a.shape[-1], device=a.device)
    distance = (t[:, None] - t[None, :]).clamp(0, window).double()
    return (a * distance).sum(-1)


def mean_distance(a: Tensor) -> Tensor:
    """Sum over s of A[t, s] (t - s)."""
    t = torch.arange(a.shape[-1], device=a.device)
    return (a * (t[:, None] - t[None, :]).clamp(min=0).double()).sum(-1)


def fai(a: Tensor, response: Tensor, horizon: tuple[int, int]) -> Tensor:
    """Mean of A[t, s] over response rows t with s + lo <= t <= s + hi, 0 where there is none; loops on purpose."""
    out = torch.zeros(a.shape[:-1], dtype=torch.float64, device=a.device)
    length = a.shape[-1]
    for b in range(a.shape[0]):
        for s in range(length):
            rows = [t for t in range(s + horizon[0], min(s + horizon[1], length - 1) + 1) if response[b, t]]
            if rows:
                out[b, :, s] = a[b, :, rows, s].mean(-1)
    return out


def entropy(a: Tensor) -> Tensor:
    """-sum over s of A[t, s] log A[t, s]."""
    return -(a * a.clamp_min(1e-300).log()).sum(-1)


def received(a: Tensor, spans: list[tuple[int, int]], gap: int) -> list[float]:
    """For one head's map (T, T): v_j = mean over i >= j + gap of the mean of A over the pairs of tokens of i and j."""
    means = [[a[slice(*i), slice(*j)].mean().item() for j in spans] for i in spans]
    later = [[means[i][j] for i in range(j + gap, len(spans))] for j in range(len(spans))]
    return [sum(values) / len(values) for values in later if values]


def copied(a: Tensor, ids: list[int], response: list[bool], needle: tuple[int, int]) -> float:
    """For one head's map (T, T): the share of needle tokens that were the largest key as the same token was written."""
    found = set()
    for t in range(len(ids) - 1):
        key = int(a[t].argmax())
        if response[t + 1] and needle[0] <= key < needle[1] and ids[key] == ids[t + 1]:
            found.add(key)
    return len(found) / (needle[1] - needle[0])


class Exactly(RhythmReader):
    """Keep the queries and keys that were read, so that the definitions can be computed from the very same."""

    def read(self, layer: int, attention: Attention) -> None:
        self.seen = {**getattr(self, "seen", {}), layer: attention}
        super().read(layer, attention)

    def exactly(self) -> Rhythm:
        """The averages as defined, from dense maps in float64."""
        maps = {layer: attention_map(attention) for layer, attention in self.seen.items()}
        near = [waad(maps[layer][:, head], self.window) for layer, head in self.heads.local]
        far = [fai(maps[at][:, head : head + 1], self.response, self.horizon)[:, 0] for at, head in self.heads.global_]
        return Rhythm(torch.stack(near).mean(0) * self.response, torch.stack(far).mean(0) * self.response)
