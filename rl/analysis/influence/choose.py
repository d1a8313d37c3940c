"""Which rows are kept: within each domain those that score highest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Domain:
    """Hold how many rows of a domain were scored and kept, from which score on, and quantiles of its scores."""

    rows: int
    unscored: int
    kept: int
    threshold: float | None
    quantiles: dict[str, float]


def choose(
    scores: Sequence[float | None], domains: Sequence[str], share: float
) -> tuple[list[bool], dict[str, Domain]]:
    """Return which rows are kept, and what is to be said of each domain.

    Of the rows of a domain that have a score, the share is rounded, at least one; of equals the first are kept [ours].
    """
    kept = [False] * len(scores)
    places: dict[str, list[int]] = {}
    for place, domain in enumerate(domains):
        places.setdefault(domain, []).append(place)
    found = {}
    for domain, own in sorted(places.items()):
        known = {place: score for place in own if (score := scores[place]) is not None}
        count = max(1, round(share * len(known))) if known else 0
        top = sorted(known, key=lambda place: (-known[place], place))[:count]
        for place in top:
            kept[place] = True
        values = numpy.quantile(list(known.values()), QUANTILES) if known else ()
        quantiles = {f"{at:g}": float(value) for at, value in zip(QUANTILES, values, strict=False)}
        least = min((known[place] for place in top), default=None)
        found[domain] = Domain(len(own), len(own) - len(known), count, least, quantiles)
    return kept, found
