"""What scoring says of a batch: every metric of rewards, effort and monitor, over all ranks."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rewards import Label, Rubric
from rl.effort import Dial


@dataclass(frozen=True, slots=True)
class Scored:
    """Hold what the metrics need of one rollout, wherever it was generated."""

    parts: Mapping[str, float | None]
    total: float | None
    asked: float | None = None
    length: int | None = None
    average_length: float | None = None
    verdict: Label | None = None
    own_label: Label | None = None
    judged: bool = False


def metrics_of(rows: Sequence[Scored], rubric: Rubric, group_size: int, dial: Dial | None) -> dict[str, float]:
    """Return the metrics of one generation batch; what has no value in it is left out."""
    return dict([*_rewards(rows, rubric, group_size), *_effort(rows, rubric, dial), *_monitor(rows)])


def _rewards(rows: Sequence[Scored], rubric: Rubric, group_size: int) -> Iterator[tuple[str, float]]:
    for name in rubric.rewards:
        judged = [value for row in rows if (value := row.parts[name]) is not None]
        if judged:
            yield f"reward/{name}/mean", statistics.fmean(judged)
        if len(judged) < len(rows) or rubric.roles[name] != "add":
            yield f"reward/{name}/unjudged", 1 - len(judged) / len(rows)
    yield "reward/unjudged/share", _share([row.total is None for row in rows])
    groups = [rows[start : start + group_size] for start in range(0, len(rows), group_size)]
    yield "reward/zero_groups/share", _share([all(row.total == 0 for row in group) for group in groups])


def _effort(rows: Sequence[Scored], rubric: Rubric, dial: Dial | None) -> Iterator[tuple[str, float]]:
    if dial is None:
        return
    buckets: dict[str, list[Scored]] = {"": [*rows]}
    for row in rows:
        if row.asked is not None:
            buckets.setdefault(f"@{dial.bucket(row.asked)}", []).append(row)
    for bucket, members in sorted(buckets.items()):
        found = {
            "length": [row.length for row in members],
            "ratio": [_ratio(row) for row in members],
            "correct": [rubric.is_correct(row.parts) for row in members],
            "reward": [row.total for row in members],
            "error": [_error(row, dial) for row in members],
        }
        for what, values in found.items():
            known = [float(value) for value in values if value is not None]
            if known:
                yield f"effort/{what}{bucket}/mean", statistics.fmean(known)


def _ratio(row: Scored) -> float | None:
    return row.length / row.average_length if row.length is not None and row.average_length else None


def _error(row: Scored, dial: Dial) -> float | None:
    """Return how far a rollout is from the number of tokens it was asked for."""
    if dial.kind != "tokens" or row.length is None or row.asked is None:
        return None
    return abs(row.length - row.asked)


def _monitor(rows: Sequence[Scored]) -> Iterator[tuple[str, float]]:
    """Yield the violations that the monitor saw, and how the policy's own label agrees with it where both are there."""
    rows = [row for row in rows if row.judged]
    if not rows:
        return
    yield "monitor/unparsed/share", _share([row.verdict is None for row in rows])
    yield "monitor/own_unparsed/share", _share([row.own_label is None for row in rows])
    verdicts = [row.verdict == "unsafe" for row in rows if row.verdict is not None]
    if verdicts:
        yield "monitor/violation/share", _share(verdicts)
    own = [row.own_label == "unsafe" for row in rows if row.own_label is not None]
    if own:
        yield "monitor/own_violation/share", _share(own)
    both = [row.own_label == row.verdict for row in rows if row.own_label is not None and row.verdict is not None]
    if both:
        yield "monitor/agreement/share", _share(both)


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)
