"""EAP-IG: how much each edge of a decoder carries of what sets a clean text apart (arXiv 2403.17806).

The embeddings go from those of the corrupt text to those of the clean one in m steps (the variant `inputs`); at every
step k = 1..m the gradient of the metric is read at each destination's own input, and

    score[u, v] = sum over tokens of (clean - corrupt write of u) . (mean over steps of the gradient at v's input).

The gradient at v's input is that through v alone, so that edges are direct ones: what the projection's output gets is
taken back through the projection's rows of a head and the norm in front. Edges into keys and values end in a key-value
head, which belongs to all query heads that read it. Scores are summed up as the backward pass reaches each layer: what
is held grows with layers, heads and tokens, and never with edges times tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.circuits.graph import Graph
from rl.circuits.pairs import Batch, Pair, batches, check_pairs
from rl.circuits.structure import Network, Norm, take_apart
from rl.circuits.writes import Writes, both, difference, kl, logits_of

HELD = 1 << 26
"""Numbers of gradients that wait for each other, so that what heads write is formed for several layers at once."""
Metric = Callable[[Float[Tensor, "B V"], Float[Tensor, "B V"]], Float[Tensor, "B"]]
"""From the clean text's logits and those that are measured to one number for each pair."""


@dataclass(frozen=True)
class Attribution:
    """Hold each edge's score, mean over pairs, and what all that leave the input should add up to.

    `gap` is the metric of the clean texts less that of the corrupt ones; for KL it is at most 0.
    """

    graph: Graph
    scores: Float[Tensor, "S D"]
    gap: float

    @property
    def completeness(self) -> float:
        """Return the edges that leave the input in terms of the gap: 1 where the steps are fine enough."""
        return float(self.scores[0].sum()) / self.gap if self.gap else 1.0


def attribute(
    model: nn.Module,
    pairs: Sequence[Pair],
    *,
    steps: int,
    micro_batch: int = 1,
    metric: Metric = kl,
    heard: Callable[[], None] = lambda: None,
) -> Attribution:
    """Return the edges' scores over pairs, with `heard` called after every step of a batch.

    Raises PairError for pairs that are not as long, and StructureError for a model that cannot be taken apart.
    """
    check_pairs(pairs)
    network = take_apart(model)
    graph = network.graph
    scores = torch.zeros(graph.num_sources, graph.num_destinations, dtype=torch.float64, device=network.model.device)
    gap = 0.0
    with _frozen(network.model):
        for batch in batches(pairs, micro_batch, network.model.device):
            gap += _add_batch(network, batch, steps, metric, scores, heard)
    return Attribution(graph, (scores / len(pairs)).float().cpu(), gap / len(pairs))


def num_steps(num_pairs: int, steps: int, micro_batch: int) -> int:
    """Return how often `attribute` calls `heard`."""
    return -(-num_pairs // micro_batch) * steps


def _add_batch(
    network: Network, batch: Batch, steps: int, metric: Metric, scores: Float[Tensor, "S D"], heard: Callable[[], None]
) -> float:
    """Add a batch's scores, and return the sum of its pairs' gaps."""
    clean, corrupt = both(network, batch)
    writes = difference(network, clean, corrupt)
    goal, start = clean.logits, corrupt.start
    gap = float((metric(goal, clean.logits) - metric(goal, corrupt.logits)).sum())
    del clean, corrupt
    for step in range(1, steps + 1):
        between = (start + writes.start * (step / steps)).requires_grad_()
        tape = _Tape(writes, scores, 1 / steps)
        with torch.enable_grad():
            with tape.listening(between):
                value = metric(goal, logits_of(network, batch.clean, batch.last)).sum()
            torch.autograd.grad(value, between)
        heard()
    return gap


@dataclass(frozen=True)
class _Reached:
    """Hold gradients at destinations' inputs, and of which layers the heads, and the MLPs, stand before them."""

    columns: slice
    gradients: Float[Tensor, "D B T N"]
    heads_before: int
    mlps_before: int


class _Tape:
    """Take the gradients of one backward pass as it comes to them, and add what they make of the writes to scores."""

    def __init__(self, writes: Writes, scores: Float[Tensor, "S D"], share: float) -> None:
        self.writes, self.network, self.graph = writes, writes.network, writes.network.graph
        self.scores, self.share = scores, share
        self._projected: dict[str, Float[Tensor, "B T K"]] = {}
        self._waiting: list[_Reached] = []

    @contextmanager
    def listening(self, start: Float[Tensor, "B T N"]) -> Iterator[None]:
        """Let the forward passes inside begin with `start`, and hear of the gradients of what they make."""

        def begin(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (start.to(args[0].dtype), *args[1:])

        with ExitStack() as hooks:

            def on(module: nn.Module, hook: Callable[..., Any]) -> None:
                hooks.callback(module.register_forward_hook(hook).remove)

            hooks.callback(self.network.first.register_forward_pre_hook(begin).remove)
            on(self.network.final.module, self._behind(self.network.final, self._logits))
            for place, layer in enumerate(self.network.layers):
                for name in ("q_proj", "k_proj", "v_proj"):
                    on(getattr(layer.attention, name), self._keeping(name))
                on(layer.attention_norm.module, self._behind(layer.attention_norm, self._attention, place))
                on(layer.mlp_norm.module, self._behind(layer.mlp_norm, self._mlp, place))
            yield

    def _keeping(self, name: str) -> Callable[..., None]:
        """Return a hook that keeps a projection's gradient until that of the norm before it comes."""

        def hook(_: nn.Module, args: Any, output: Tensor) -> None:
            output.register_hook(lambda gradient: self._projected.__setitem__(name, gradient.float()))

        return hook

    def _behind(self, norm: Norm, take: Callable[..., None], *place: int) -> Callable[..., None]:
        """Return a hook that hands on a norm's input, and the gradient of its output when that comes."""

        def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            x = args[0].detach()
            output.register_hook(lambda gradient: take(norm, x.float(), gradient.float(), *place))

        return hook

    def _logits(self, norm: Norm, x: Tensor, gradient: Tensor) -> None:
        column, num_layers = self.graph.logits, self.graph.num_layers
        pulled = norm.pull(gradient, x).unsqueeze(0)
        self._waiting.append(_Reached(slice(column, column + 1), pulled, num_layers, num_layers))

    def _mlp(self, norm: Norm, x: Tensor, gradient: Tensor, place: int) -> None:
        column, pulled = self.graph.mlp_read(place), norm.pull(gradient, x).unsqueeze(0)
        self._waiting.append(_Reached(slice(column, column + 1), pulled, place + 1, place))

    def _attention(self, norm: Norm, x: Tensor, _: Tensor, place: int) -> None:
        layer, graph = self.network.layers[place], self.graph
        found = []
        for name, columns in zip(
            ("q_proj", "k_proj", "v_proj"), (graph.queries(place), graph.keys(place), graph.values(place)), strict=True
        ):
            weight = layer.reading(name, columns.stop - columns.start)
            gradient = self._projected.pop(name).unflatten(-1, weight.shape[:2])
            found.append(norm.pull(torch.einsum("bthd,hdn->hbtn", gradient, weight), x))
        columns = slice(graph.queries(place).start, graph.values(place).stop)
        self._waiting.append(_Reached(columns, torch.cat(found), place, place))
        if place == 0 or sum(one.gradients.numel() for one in self._waiting) > HELD:
            self._score()

    def _score(self) -> None:
        """Add the scores of all edges into the destinations that wait."""
        waiting, self._waiting = self._waiting, []
        self._add(waiting, slice(0, 1), self.writes.start.unsqueeze(0))
        for layer in range(max(one.heads_before for one in waiting)):
            self._add(
                [one for one in waiting if one.heads_before > layer], self.graph.heads(layer), self.writes.heads(layer)
            )
            row = self.graph.mlp_write(layer)
            behind = [one for one in waiting if one.mlps_before > layer]
            self._add(behind, slice(row, row + 1), self.writes.mlps[layer].unsqueeze(0))

    def _add(self, reached: Sequence[_Reached], rows: slice, written: Float[Tensor, "U B T N"]) -> None:
        flat = written.flatten(1)
        for one in reached:
            self.scores[rows, one.columns] += self.share * (flat @ one.gradients.flatten(1).mT).double()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Let no weight of a model ask for a gradient inside: what those need is not kept then."""
    before = [(one, one.requires_grad) for one in model.parameters()]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for one, wanted in before:
            one.requires_grad_(wanted)
