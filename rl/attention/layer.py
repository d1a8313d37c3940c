"""What one layer attends with: all that its attention map is a function of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Attention:
    """Hold one layer's queries and keys, post norm and RoPE; with scores s = scale * q . k, A[t, s] = exp(s - lse_t).

    Shapes: q (B, H, T, D), k (B, K, T, D) with head h reading key-value head h // (H / K), keys (B, T) true where a key
    is no padding. `softcap` bounds scores by softcap * tanh(s / softcap); `sliding` lets row t see
    keys t - sliding < s <= t. `sink_logits` (H,) are that every row's softmax counts beside its keys (gpt-oss), so that
    rows sum to less than 1. `lse` (B, H, T) is each row's log-sum-exp in float32, where the attention kernel gave it.
    """

    q: Float[Tensor, "B H T D"]
    k: Float[Tensor, "B K T D"]
    keys: Bool[Tensor, "B T"]
    scale: float
    softcap: float | None = None
    sliding: int | None = None
    sink_logits: Float[Tensor, "H"] | None = None
    lse: Float[Tensor, "B H T"] | None = None

    @property
    def group(self) -> int:
        """Count the heads that share a key-value head."""
        return self.q.shape[1] // self.k.shape[1]

    def of(self, heads: list[int]) -> "Attention":
        """Keep only the given heads, each with a key head of its own."""
        index = torch.tensor(heads, device=self.q.device)
        sinks = None if self.sink_logits is None else self.sink_logits[index]
        lse = None if self.lse is None else self.lse[:, index]
        return replace(self, q=self.q[:, index], k=self.k[:, index // self.group], sink_logits=sinks, lse=lse)

    def row_sums(self, lse: Float[Tensor, "B N R"], heads: Sequence[int]) -> Float[Tensor, "B N R"]:
        """Return sum_s A[t, s] of some heads' rows: 1, or what a learned sink leaves of it."""
        if self.sink_logits is None:
            return torch.ones_like(lse)
        return 1 - (self.sink_logits[list(heads), None] - lse).exp()

    def scores(self, products: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Turn dot products q . k into scores, in place."""
        scores = products.mul_(self.scale)
        return scores if self.softcap is None else scores.div_(self.softcap).tanh_().mul_(self.softcap)
