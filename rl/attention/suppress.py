"""Hide tokens from those behind them, in every layer and head (arXiv 2506.19143)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from rl.attention.interface import changed, visible
from rl.attention.structure import ProbeError, transformer


@contextmanager
def suppress(model: nn.Module, keys: Bool[Tensor, "B T"]) -> Iterator[None]:
    """Take the tokens that `keys` marks out of the softmax of all other tokens, in passes over B sequences inside.

    The rows of hidden tokens see what they ever saw: no other token reads them, and so no row is left without a key
    [ours]. Raises ProbeError for kernels other than sdpa and eager, for a pass of another shape or with a cache, and
    for layers that carry tokens on in another way than attention.
    """
    hidden = keys[:, None, None, :] & ~keys[:, None, :, None]
    added = transformer(model).config._attn_implementation == "eager"  # its masks are added to the scores

    def attend(
        active: Callable, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if (len(q), q.shape[2], k.shape[2]) != (*keys.shape, keys.shape[1]):
            raise ProbeError(
                f"tokens of a batch {tuple(keys.shape)} cannot be hidden in a pass of {(len(q), q.shape[2])}, or with "
                "a cache: pass the same batch, and use_cache=False"
            )
        seen = visible(q, k, mask) & ~hidden.to(q.device)
        if added if mask is None else mask.dtype != torch.bool:
            seen = torch.zeros_like(seen, dtype=q.dtype).masked_fill_(~seen, torch.finfo(q.dtype).min)
        return active(module, q, k, v, seen, *args, **kwargs)

    with changed(model, None, attend):
        yield
