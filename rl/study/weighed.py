"""Which tokens got the weight: read from the rollouts that a run keeps."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

LEAST_SEEN = 20  # times that a token was sampled, to be told of
MOST_TOLD = 6


@dataclass(frozen=True)
class Weighed:
    """Hold a token, how often it was seen, and its mean weight."""

    token: str
    count: int
    weight: float


def most_weighed(rows: Iterable[dict[str, Any]]) -> Sequence[Weighed]:
    """Return the tokens with the highest mean weight in rows of samples.jsonl; none where nothing was weighed."""
    sums: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        tokens, weights = row.get("tokens"), row.get("weight")
        if isinstance(tokens, list) and isinstance(weights, list) and len(tokens) == len(weights):
            for token, weight in zip(tokens, weights, strict=True):
                if isinstance(weight, int | float):
                    sums[str(token)].append(float(weight))
    seen = [
        Weighed(token, len(weights), sum(weights) / len(weights))
        for token, weights in sums.items()
        if len(weights) >= LEAST_SEEN
    ]
    if len({round(one.weight, 6) for one in seen}) < 2:
        return []
    return sorted(seen, key=lambda one: (-one.weight, one.token))[:MOST_TOLD]
