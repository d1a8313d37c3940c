"""Heads as rows of heads.jsonl, and as metrics: how many appear, stay and vanish, and how that goes with the reward."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypedDict

from rl.attention import Heads
from rl.emergence import DRIFTING, Change, Member, Scores, change, cohort, members, rank_correlation
from rl.telemetry.head_tracker import Snapshot
from rl.telemetry.probe_set import finite

DRIFTED = 2.0  # spreads from the base that count as drifted [ours]
REWARD, TURNOVER = "reward/total/mean", "heads/turnover/share"


class LayerRow(TypedDict):
    """One score of all heads of a layer at a step; None where there was nothing to measure.

    `source` is what was measured: the `probe` set, the `rollouts` of the step, or those of a `selection` of heads for
    credit. `score` is distance (tokens), entropy (nats), sink, receiver, retrieval, credit, drift (spreads), or local
    or global (1 if chosen).
    """

    step: int
    source: Literal["probe", "rollouts", "selection"]
    score: str
    layer: int
    values: Sequence[float | None]


def selection_rows(step: int, distances: Mapping[int, Sequence[float]], heads: Heads) -> Iterator[LayerRow]:
    """Yield every head's mean distance and, for each layer, whether it was chosen as local or global."""
    chosen = {"local": set(heads.local), "global": set(heads.global_)}
    for layer, row in distances.items():
        yield LayerRow(step=step, source="selection", score="distance", layer=layer, values=finite(row))
        for score, own in chosen.items():
            marks = [float((layer, head) in own) for head in range(len(row))]
            yield LayerRow(step=step, source="selection", score=score, layer=layer, values=marks)


def snapshot_rows(snapshot: Snapshot) -> Iterator[LayerRow]:
    """Yield a snapshot's scores."""
    for score, layers in snapshot.scores.items():
        for layer, row in sorted(layers.items()):
            yield LayerRow(step=snapshot.step, source=snapshot.source, score=score, layer=layer, values=finite(row))


def read_scores(rows: Iterable[Mapping]) -> list[tuple[str, int, Scores]]:
    """Return the probe set's snapshots that rows of heads.jsonl hold, in their order: stage, step and scores."""
    found: dict[tuple[str, int], dict[str, dict[int, list[float]]]] = {}
    for row in rows:
        if row.get("source") == "probe":
            scores = found.setdefault((row["stage"], row["step"]), {})
            values = [math.nan if value is None else float(value) for value in row["values"]]
            scores.setdefault(row["score"], {})[row["layer"]] = values
    return [(stage, step, scores) for (stage, step), scores in found.items()]


class Turnover:
    """Follow the members of a run's snapshots, from those that it has already on."""

    def __init__(self, rows: Iterable[Mapping], metrics: Iterable[Mapping]) -> None:
        self.base: frozenset[Member] | None = None
        self.last: frozenset[Member] | None = None
        self._first: dict[Member, int] = {}
        self._count = 0
        self._rewards: list[float] = []
        self._pairs: list[tuple[float, float]] = []
        for _, _, scores in read_scores(rows):
            self._see(members(scores))
        for row in metrics:
            self.saw_step(row)

    def _see(self, now: frozenset[Member]) -> Change | None:
        before, self.last = self.last, now
        for member in now:
            self._first.setdefault(member, self._count)
        self._count += 1
        self.base = now if self.base is None else self.base
        return None if before is None else change(before, now)

    def saw_snapshot(self, scores: Scores) -> dict[str, float]:
        """Return the metrics of a snapshot on the probe set."""
        changed = self._see(members(scores))
        if changed is None or self.last is None or self.base is None:
            return {}
        drifts = [value for row in scores.get("drift", {}).values() for value in row if math.isfinite(value)]
        metrics = {
            TURNOVER: changed.turnover,
            "heads/appeared/count": float(len(changed.appeared)),
            "heads/stayed/count": float(len(changed.stayed)),
            "heads/vanished/count": float(len(changed.vanished)),
            "heads/emerged/count": float(len(self.last - self.base)),
        }
        metrics |= self._cohorts(self.last)
        if self.base:
            metrics["heads/retained/share"] = len(self.last & self.base) / len(self.base)
        if drifts:
            metrics["heads/drift/mean"] = statistics.fmean(drifts)
            metrics["heads/drifted/share"] = sum(value > DRIFTED for value in drifts) / len(drifts)
        return metrics

    def _cohorts(self, now: frozenset[Member]) -> dict[str, float]:
        """Return how many members there are of each cohort that there has been."""
        counts: dict[int, int] = dict.fromkeys(map(cohort, self._first.values()), 0)
        for member in now:
            counts[cohort(self._first[member])] += 1
        return {f"heads/cohort@{_cohort(order)}/count": float(count) for order, count in sorted(counts.items())}

    def saw_step(self, row: Mapping) -> float | None:
        """Take a step's metrics; return Spearman's correlation of turnover and reward once that says anything.

        The reward that goes with a snapshot is the mean since the one before.
        """
        if row.get(REWARD) is not None:
            self._rewards.append(row[REWARD])
        if row.get(TURNOVER) is None:
            return None
        if self._rewards:
            self._pairs.append((row[TURNOVER], statistics.fmean(self._rewards)))
        self._rewards = []
        return rank_correlation(*zip(*self._pairs, strict=True)) if self._pairs else None


def _cohort(order: int) -> str:
    """Return a cohort's name: the numbers of its snapshots, or the base."""
    if order < 2:
        return "base" if order == 0 else "1"
    return f"{1 << (order - 1)}-{(1 << order) - 1}"


SCORES = (*DRIFTING, "credit", "drift")  # those that are numbers, in the order of a table


def table(snapshot: Snapshot) -> tuple[list[str], list[list[float | int | None]]]:
    """Return a snapshot as a table of heads: its columns, and a row for every head."""
    shown = [score for score in (*SCORES, "local", "global") if score in snapshot.scores]
    rows: list[list[float | int | None]] = []
    for layer, row in sorted(snapshot.scores["distance"].items()):
        columns = [finite(snapshot.scores[score].get(layer, [math.nan] * len(row))) for score in shown]
        rows += [[snapshot.step, layer, head, *values] for head, values in enumerate(zip(*columns, strict=True))]
    return ["step", "layer", "head", *shown], rows
