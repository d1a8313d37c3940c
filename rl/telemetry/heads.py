"""A head selection as rows of heads.jsonl."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

from rl.attention import Heads


class HeadRow(TypedDict):
    """One number about one head at one step: `score` is distance (tokens), local or global (1 if chosen)."""

    step: int
    layer: int
    head: int
    score: str
    value: float


def head_rows(step: int, distances: Mapping[int, Sequence[float]], heads: Heads) -> Iterator[HeadRow]:
    """Yield every head's mean distance and, for each layer, whether it was chosen as local or global."""
    chosen = {"local": set(heads.local), "global": set(heads.global_)}
    for layer, row in distances.items():
        for head, distance in enumerate(row):
            yield HeadRow(step=step, layer=layer, head=head, score="distance", value=distance)
            for score, members in chosen.items():
                yield HeadRow(step=step, layer=layer, head=head, score=score, value=float((layer, head) in members))
