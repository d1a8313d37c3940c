"""Which edges are kept as a circuit, and which heads that makes."""

from collections.abc import Sequence
from dataclasses import dataclass

from rl.attention import Head
from rl.circuits.attribute import Attribution
from rl.circuits.graph import Graph

TOP, THRESHOLD = 5000, 0.1


@dataclass(frozen=True, slots=True)
class Edge:
    """Hold an edge by the numbers of its ends in the graph, and its score."""

    source: int
    destination: int
    score: float


def keep(found: Attribution, top: int = TOP, threshold: float = THRESHOLD) -> list[Edge]:
    """Return the `top` edges of largest |score|, and of these those with `threshold` of the largest, strongest first.

    5000 and 0.1 in arXiv 2509.25758, which does not say of what the 0.1 is [ours: of the largest]. An edge that
    scores 0 is never kept.
    """
    size = found.scores.abs().masked_fill(~found.graph.allowed(), 0.0).flatten()
    values, places = size.topk(min(top, int(found.graph.allowed().sum())))
    least = threshold * float(values[0])
    width = found.graph.num_destinations
    kept = [place for value, place in zip(values.tolist(), places.tolist(), strict=True) if value >= least and value]
    scores = found.scores.flatten()
    return [Edge(place // width, place % width, float(scores[place])) for place in kept]


def heads_of(graph: Graph, edges: Sequence[Edge]) -> frozenset[Head]:
    """Return the heads that an edge starts or ends in; one into keys or values ends in all heads that read those."""
    ends = [graph.heads_of_source(edge.source) + graph.heads_of_destination(edge.destination) for edge in edges]
    return frozenset(head for heads in ends for head in heads)


def say(graph: Graph, edge: Edge) -> str:
    """Return an edge in words."""
    return f"{graph.name_of_source(edge.source)} -> {graph.name_of_destination(edge.destination)}"
