"""Let heads look at all they may see alike: what a head's choice of keys was worth (arXiv 2505.07293)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.attention.heads import Head
from rl.attention.interface import changed, visible
from rl.attention.structure import ProbeError, transformer


@contextmanager
def uniform(model: nn.Module, heads: Sequence[Head]) -> Iterator[None]:
    """Set the attention of heads, (layer, query head), to 1 / L over the L keys that a row may see, inside.

    A learned sink gets nothing [ours]; a row that sees no key, which is padding, gets 0. Raises ProbeError for heads
    that do not exist, and for kernels other than sdpa and eager.
    """
    num_heads = transformer(model).config.get_text_config().num_attention_heads
    odd = [head for head in heads if not 0 <= head[1] < num_heads]
    if odd:
        raise ProbeError(f"heads: {odd[0]} is no (layer, head) of a model with heads 0..{num_heads - 1}")
    chosen = {layer: sorted({head for at, head in heads if at == layer}) for layer, _ in heads}

    def attend(
        active: Callable, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, *args: Any, **kwargs: Any
    ) -> Any:
        output, weights, *rest = active(module, q, k, v, mask, *args, **kwargs)
        own = torch.tensor(chosen[int(module.layer_idx)], device=q.device)  # pyright: ignore
        even = _even(visible(q, k, mask).float())
        values = v[:, own // (q.shape[1] // v.shape[1])].float()
        output = output.index_copy(2, own, (even @ values).transpose(1, 2).to(output.dtype))
        if weights is not None:
            weights = weights.index_copy(1, own, even.expand(-1, len(own), -1, -1).to(weights.dtype))
        return output, weights, *rest

    with changed(model, chosen.keys(), attend):
        yield


def _even(seen: Float[Tensor, "B 1 R T"]) -> Float[Tensor, "B 1 R T"]:
    """Return 1 / L for each of the L keys that a row sees."""
    return seen / seen.sum(-1, keepdim=True).clamp_min(1)
