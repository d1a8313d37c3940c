"""What answers come to: how many are right, how long they are, and what each reward gives them, with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import comb

from rl.evaluation.answers import Answer, Read
from rl.intervals import Interval, mean_of, rate_of, unless_alike


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


def results_of(answers: Sequence[Answer], seed: int) -> Results:
    """Return what answers come to."""

    def mean(read: Read, of: Callable[..., Interval | None] = mean_of) -> Interval | None:
        known = [(float(value), answer.task) for answer in answers if (value := read(answer)) is not None]
        return unless_alike(of([value for value, _ in known], [task for _, task in known], seed))

    return Results(
        tasks=len({answer.task for answer in answers}),
        answers=len(answers),
        unjudged=sum(answer.correct is None for answer in answers),
        accuracy=mean(lambda answer: answer.correct, rate_of),
        tokens=mean(lambda answer: answer.num_tokens),
        reasoning_tokens=mean(lambda answer: answer.num_reasoning_tokens),
        cut=mean(lambda answer: answer.cut, rate_of),
        parts={name: mean(lambda answer, name=name: answer.parts[name]) for name in parts_of(answers)},
        passes={k: _pass_interval(answers, k, seed) for k in powers(answers)},
    )


def pass_at(n: int, c: int, k: int) -> float:
    """Estimate the chance that of k answers one is right, from c right ones among n: 1 - C(n-c, k) / C(n, k).

    Unbiased (Chen et al. 2021, arXiv 2107.03374). Raises ValueError where k answers cannot be drawn.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {c} right among {n} answers is not defined")
    return 1.0 - comb(n - c, k) / comb(n, k)


def parts_of(answers: Sequence[Answer]) -> list[str]:
    """Return the names of the parts of the reward, which all answers share."""
    return list(answers[0].parts) if answers else []


def powers(answers: Sequence[Answer]) -> list[int]:
    """Return 1, 2, 4, ... up to the most answers that a task has."""
    counts: dict[int, int] = {}
    for answer in answers:
        counts[answer.task] = counts.get(answer.task, 0) + 1
    return [1 << power for power in range(max(counts.values(), default=0).bit_length())]


def passes_by_task(answers: Sequence[Answer], k: int) -> dict[int, float]:
    """Return pass@k of each task of which at least k answers could be judged."""
    judged: dict[int, list[bool]] = {}
    for answer in answers:
        if answer.correct is not None:
            judged.setdefault(answer.task, []).append(answer.correct)
    return {task: pass_at(len(own), sum(own), k) for task, own in judged.items() if len(own) >= k}


def _pass_interval(answers: Sequence[Answer], k: int, seed: int) -> Interval | None:
    found = passes_by_task(answers, k)
    return rate_of(list(found.values()), list(found), seed)
