"""Which tokens are attention sinks: the first one, and those whose hidden states follow its direction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

COSINE, NUM_LAYERS = 0.9, 4  # a secondary sink is nearer than this to the first token in more layers than this


class SinkReader:
    """Count, for sequences in one or more passes, in how many layers each token's hidden state is the first one's.

    A sink is the first token, and each token i with |cos(h_i, h_first)| > 0.9 in more than 4 layers
    (arXiv 2512.22213); h is the residual stream after each of the layers that are watched [ours].
    """

    def __init__(self, keys: Bool[Tensor, "B T"]) -> None:
        self.keys = keys
        self._layers: Int[Tensor, "B T"] = torch.zeros_like(keys, dtype=torch.long)
        self._sequences = slice(0, 0)

    def start(self, num_sequences: int) -> None:
        """Move on to the next num_sequences sequences."""
        self._sequences = slice(self._sequences.stop, self._sequences.stop + num_sequences)

    def read(self, hidden: Tensor) -> None:
        """Count one layer's hidden states (B, T, D)."""
        first = self.keys[self._sequences].int().argmax(-1)
        lead = hidden[torch.arange(len(first), device=first.device), first].unsqueeze(1)
        cosine = torch.cosine_similarity(hidden.float(), lead.float(), dim=-1)
        self._layers[self._sequences] += cosine.abs() > COSINE

    def sinks(self) -> Bool[Tensor, "B T"]:
        """Return which tokens are sinks."""
        lead = self.keys & (self.keys.long().cumsum(-1) == 1)
        return (lead | (self._layers > NUM_LAYERS)) & self.keys


@contextmanager
def watch(layers: Sequence[nn.Module], reader: SinkReader) -> Iterator[None]:
    """Feed reader from every pass through `layers`, the model's first ones, inside the context."""

    def after(layer: nn.Module, _: Any, output: Any) -> None:
        hidden = output if isinstance(output, Tensor) else output[0]
        if layer is layers[0]:
            reader.start(len(hidden))
        with torch.no_grad():
            reader.read(hidden.detach())

    hooks = [layer.register_forward_hook(after) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
