"""What answers come to: how many are right, how long they are, and what each reward gives them, with intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Any

from rl.intervals import Interval, mean_of, rate_of, unless_alike

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """Hold means over all answers with 95 % intervals over tasks; None where nothing could be judged.

    Means of which no two tasks differ have no ends; shares have Wilson's.

    accuracy is avg@k: the share that is right of all answers which could be judged. `passes` is pass@k by k.
    """

    tasks: int
    answers: int
    unjudged: int
    accuracy: Interval | None
    tokens: Interval | None
    reasoning_tokens: Interval | None
    cut: Interval | None
    parts: dict[str, Interval | None]
    passes: dict[int, Interval | None] = field(default_factory=dict)


def results_of(rows: Sequence[Row], seed: int) -> Results:
    """Return what rows of generations come to."""

    def mean(read: Callable[[Row], Any], of: Callable[..., Interval | None] = mean_of) -> Interval | None:
        known = [(float(value), row["task"]) for row in rows if (value := read(row)) is not None]
        return unless_alike(of([value for value, _ in known], [task for _, task in known], seed))

    return Results(
        tasks=len({row["task"] for row in rows}),
        answers=len(rows),
        unjudged=sum(row["correct"] is None for row in rows),
        accuracy=mean(lambda row: row["correct"], rate_of),
        tokens=mean(lambda row: row["num_tokens"]),
        reasoning_tokens=mean(lambda row: row["num_reasoning_tokens"]),
        cut=mean(lambda row: row["cut"], rate_of),
        parts={name: mean(lambda row, name=name: row["parts"][name]) for name in (rows[0]["parts"] if rows else ())},
        passes={k: _pass_interval(rows, k, seed) for k in powers(rows)},
    )


def pass_at(n: int, c: int, k: int) -> float:
    """Estimate the chance that of k answers one is right, from c right ones among n: 1 - C(n-c, k) / C(n, k).

    Unbiased (Chen et al. 2021, arXiv 2107.03374). Raises ValueError where k answers cannot be drawn.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {c} right among {n} answers is not defined")
    return 1.0 - comb(n - c, k) / comb(n, k)


def powers(rows: Sequence[Row]) -> list[int]:
    """Return 1, 2, 4, ... up to the most answers that a task has."""
    counts: dict[int, int] = {}
    for row in rows:
        counts[row["task"]] = counts.get(row["task"], 0) + 1
    return [1 << power for power in range(max(counts.values(), default=0).bit_length())]


def passes_by_task(rows: Sequence[Row], k: int) -> dict[int, float]:
    """Return pass@k of each task of which at least k answers could be judged."""
    judged: dict[int, list[bool]] = {}
    for row in rows:
        if row["correct"] is not None:
            judged.setdefault(row["task"], []).append(row["correct"])
    return {task: pass_at(len(own), sum(own), k) for task, own in judged.items() if len(own) >= k}


def _pass_interval(rows: Sequence[Row], k: int, seed: int) -> Interval | None:
    found = passes_by_task(rows, k)
    return rate_of(list(found.values()), list(found), seed)
