"""The nodes and edges of a decoder: what writes into its residual stream, what reads from it, and in which order."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from rl.attention import Head


@dataclass(frozen=True)
class Graph:
    """Number the sources and destinations of edges, in a decoder whose layers all have as many heads.

    Sources: the input, then by layer its query heads and its MLP. Destinations: by layer the queries of each head, the
    keys and the values of each key-value head, the MLP; last the logits. An edge goes wherever what is written is read.
    """

    num_layers: int
    num_heads: int
    num_key_heads: int

    @property
    def group(self) -> int:
        """Count the query heads that read one key-value head."""
        return self.num_heads // self.num_key_heads

    @property
    def num_sources(self) -> int:
        """Count the input, the heads and the MLPs."""
        return 1 + self.num_layers * (self.num_heads + 1)

    @property
    def num_destinations(self) -> int:
        """Count what reads the residual stream."""
        return self.num_layers * self._width + 1

    @property
    def logits(self) -> int:
        """Return the number of the last destination."""
        return self.num_destinations - 1

    def heads(self, layer: int) -> slice:
        """Return the sources that are a layer's heads."""
        first = 1 + layer * (self.num_heads + 1)
        return slice(first, first + self.num_heads)

    def mlp_write(self, layer: int) -> int:
        """Return the source that is a layer's MLP."""
        return self.heads(layer).stop

    def queries(self, layer: int) -> slice:
        """Return the destinations that are the queries of a layer's heads."""
        return slice(layer * self._width, layer * self._width + self.num_heads)

    def keys(self, layer: int) -> slice:
        """Return the destinations that are the keys of a layer's key-value heads."""
        first = self.queries(layer).stop
        return slice(first, first + self.num_key_heads)

    def values(self, layer: int) -> slice:
        """Return the destinations that are the values of a layer's key-value heads."""
        first = self.keys(layer).stop
        return slice(first, first + self.num_key_heads)

    def mlp_read(self, layer: int) -> int:
        """Return the destination that is a layer's MLP."""
        return self.values(layer).stop

    def allowed(self) -> Bool[Tensor, "S D"]:
        """Return which edges there are: from each source to what comes behind it."""
        found = torch.zeros(self.num_sources, self.num_destinations, dtype=torch.bool)
        found[0] = True
        for layer in range(self.num_layers):
            found[self.heads(layer), self.mlp_read(layer) :] = True
            found[self.mlp_write(layer), self.mlp_read(layer) + 1 :] = True
        return found

    def heads_of_source(self, source: int) -> tuple[Head, ...]:
        """Return the head that a source is; none for the input and MLPs."""
        layer, place = divmod(source - 1, self.num_heads + 1)
        return () if source == 0 or place == self.num_heads else ((layer, place),)

    def heads_of_destination(self, destination: int) -> tuple[Head, ...]:
        """Return the heads that read there: for keys and values every query head of the group."""
        layer, kind, place = self._part(destination)
        if kind == "q":
            return ((layer, place),)
        heads = range(place * self.group, (place + 1) * self.group) if kind in ("k", "v") else ()
        return tuple((layer, head) for head in heads)

    def name_of_source(self, source: int) -> str:
        """Return what a source is, in words."""
        if source == 0:
            return "input"
        layer, place = divmod(source - 1, self.num_heads + 1)
        return f"MLP {layer}" if place == self.num_heads else f"head {layer}.{place}"

    def name_of_destination(self, destination: int) -> str:
        """Return what a destination is, in words."""
        layer, kind, _ = self._part(destination)
        if kind in ("logits", "MLP"):
            return kind if kind == "logits" else f"MLP {layer}"
        heads = [head for _, head in self.heads_of_destination(destination)]
        if len(heads) == 1:
            return f"head {layer}.{heads[0]} {kind}"
        return f"heads {layer}.{heads[0]}-{heads[-1]} {kind}"

    @property
    def _width(self) -> int:
        return self.num_heads + 2 * self.num_key_heads + 1

    def _part(self, destination: int) -> tuple[int, str, int]:
        """Return a destination's layer, its kind, and which one of these it is."""
        if destination == self.logits:
            return self.num_layers, "logits", 0
        layer, place = divmod(destination, self._width)
        for kind, count in (("q", self.num_heads), ("k", self.num_key_heads), ("v", self.num_key_heads)):
            if place < count:
                return layer, kind, place
            place -= count
        return layer, "MLP", 0
