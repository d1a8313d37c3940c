"""Which heads are of what kind, and how that changes: heads that appear, stay and vanish, and how far all drift."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Scores = Mapping[str, Mapping[int, Sequence[float]]]
"""By score, and by layer, what every head has; nan where there was nothing to measure."""
Member = tuple[str, int, int]
"""A head that is of some kind: kind, layer, head."""

KINDS = ("local", "global", "receiver", "retrieval", "sink")
RETRIEVAL = 0.1  # a retrieval head copies more than this share of the needle (arXiv 2404.15574)
SINK = 0.5  # a head gives more than this share of its attention to the first token [ours]
RECEIVERS, RECEIVER_SHARE = 20, 0.1  # the heads of largest kurtosis (arXiv 2506.19143), of a small model fewer [ours]
DRIFTING = ("distance", "entropy", "sink", "receiver", "retrieval")
LEAST_SPREAD = 0.1  # of the median over heads: a head that hardly varied by chance must not count as drifting [ours]
FEWEST = 4  # pairs that a rank correlation is worth stating for [ours]


def members(scores: Scores) -> frozenset[Member]:
    """Return which heads are of which kinds, of those whose scores are there.

    local and global are marks that the scores hold themselves; receiver heads are the 20 of largest kurtosis, at most a
    tenth of all, and above the normal distribution's 0 [ours]; a retrieval head copies more than 0.1 of its needle; a
    sink head gives half its attention to the first token.
    """
    found = {(kind, *place) for kind in ("local", "global") for place, value in _heads(scores, kind) if value > 0}
    found |= {("retrieval", *place) for place, value in _heads(scores, "retrieval") if value > RETRIEVAL}
    found |= {("sink", *place) for place, value in _heads(scores, "sink") if value > SINK}
    peaked = [(place, value) for place, value in _heads(scores, "receiver") if value > 0]
    ranked = sorted(peaked, key=lambda pair: (-pair[1], pair[0]))
    count = num_receivers(sum(map(len, scores.get("receiver", {}).values())))
    return frozenset(found | {("receiver", *place) for place, _ in ranked[:count]})


def num_receivers(num_heads: int) -> int:
    """Return how many of a model's heads are receivers, at most."""
    return min(RECEIVERS, math.ceil(RECEIVER_SHARE * num_heads))


@dataclass(frozen=True)
class Change:
    """Hold what became of members between two snapshots."""

    appeared: frozenset[Member]
    stayed: frozenset[Member]
    vanished: frozenset[Member]

    @property
    def turnover(self) -> float:
        """Return the share of all members of either snapshot that only one of them has: their Jaccard distance."""
        moved = len(self.appeared) + len(self.vanished)
        return moved / (moved + len(self.stayed)) if moved else 0.0


def change(before: Collection[Member], now: Collection[Member]) -> Change:
    """Return what became of the members of one snapshot in the next."""
    return Change(*map(frozenset, (set(now) - set(before), set(now) & set(before), set(before) - set(now))))


def cohort(snapshot: int) -> int:
    """Return the cohort of what the snapshot of this number first had: 0 of the base, then of 1, 2-3, 4-7, 8-15 ...

    Its number is that of the snapshot's binary digits: cohorts double in width, so that a run of any length has few.
    """
    return snapshot.bit_length()


def spread(draws: Sequence[Scores]) -> dict[str, dict[int, list[float]]]:
    """Return the standard error of each score of each head, from its values on several draws of texts.

    The standard deviation over draws / sqrt(draws): how far chance alone moves a mean over all of them. No head has
    less than a tenth of the median of its score [ours]; nan where nothing could be measured.
    """
    errors: dict[str, dict[int, list[float]]] = {}
    for score in [name for name in DRIFTING if name in draws[0]]:
        rows = {
            layer: [_error([draw[score][layer][head] for draw in draws]) for head in range(len(row))]
            for layer, row in draws[0][score].items()
        }
        known = [value for row in rows.values() for value in row if math.isfinite(value)]
        least = LEAST_SPREAD * statistics.median(known) if known else math.nan
        errors[score] = {layer: [max(value, least) for value in row] for layer, row in rows.items()}
    return errors


def drift(scores: Scores, base: Scores, errors: Scores) -> dict[int, list[float]]:
    """Return by layer how far each head is from its base: the root mean square over scores of (score - base) / spread.

    Scores that nothing is known of, or that chance does not move at all, are left out; nan where none is left [ours].
    """
    shared = [name for name in DRIFTING if name in scores and name in base and name in errors]
    return {
        layer: [
            _root_mean_square(
                [
                    (scores[name][layer][head] - base[name][layer][head]) / errors[name][layer][head]
                    for name in shared
                    if errors[name][layer][head] > 0
                ]
            )
            for head in range(len(row))
        ]
        for layer, row in scores["distance"].items()
    }


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Return Spearman's correlation; None of fewer than four pairs, or where a side never changes."""
    if len(left) < FEWEST or min(len(set(left)), len(set(right))) < 2:
        return None
    from scipy.stats import spearmanr

    found: Any = spearmanr(left, right)
    return float(found.statistic)


def _heads(scores: Scores, score: str) -> list[tuple[tuple[int, int], float]]:
    rows = scores.get(score, {}).items()
    return [((layer, head), value) for layer, row in rows for head, value in enumerate(row) if math.isfinite(value)]


def _error(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return statistics.stdev(known) / math.sqrt(len(known)) if len(known) > 1 else math.nan


def _root_mean_square(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return math.sqrt(statistics.fmean(value * value for value in known)) if known else math.nan
