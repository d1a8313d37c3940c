"""What answers come to: how many are right, how long they are, and what each reward gives them, with intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl.intervals import Interval, mean_of, share_of

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """Hold means over all answers with 95 % intervals over tasks; None where nothing could be judged.

    accuracy is avg@k: the share of k answers to a task that are right, mean over tasks.
    """

    tasks: int
    answers: int
    unjudged: int
    accuracy: Interval | None
    tokens: Interval | None
    reasoning_tokens: Interval | None
    cut: Interval | None
    parts: dict[str, Interval | None]


def results_of(rows: Sequence[Row], seed: int) -> Results:
    """Return what rows of generations come to."""

    def mean(read: Callable[[Row], Any]) -> Interval | None:
        known = [(float(value), row["task"]) for row in rows if (value := read(row)) is not None]
        return mean_of([value for value, _ in known], [task for _, task in known], seed)

    def share(name: str) -> Interval | None:
        known = [row for row in rows if row[name] is not None]
        return share_of([row[name] for row in known], [row["task"] for row in known])

    return Results(
        tasks=len({row["task"] for row in rows}),
        answers=len(rows),
        unjudged=sum(row["correct"] is None for row in rows),
        accuracy=share("correct"),
        tokens=mean(lambda row: row["num_tokens"]),
        reasoning_tokens=mean(lambda row: row["num_reasoning_tokens"]),
        cut=share("cut"),
        parts={name: mean(lambda row, name=name: row["parts"][name]) for name in (rows[0]["parts"] if rows else ())},
    )
