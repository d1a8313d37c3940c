"""What one arm does better or worse than another on the same tasks: differences paired by task."""

from collections.abc import Sequence
from typing import Any

from rl.evaluation.answers import Answer, Read
from rl.evaluation.results import parts_of, passes_by_task, powers
from rl.intervals import Interval, difference_of, unless_alike


def differences(ours: Sequence[Answer], theirs: Sequence[Answer], seed: int) -> dict[str, Interval | None]:
    """Return the means of ours less those of theirs, each with a 95 % interval over draws of the tasks of both.

    accuracy, tokens, reasoning tokens, what was cut, pass@k, and every part of the reward, each over the tasks that
    both have it of.
    """
    read: dict[str, Read] = {
        "accuracy": lambda answer: answer.correct,
        "tokens": lambda answer: answer.num_tokens,
        "reasoning_tokens": lambda answer: answer.num_reasoning_tokens,
        "cut": lambda answer: answer.cut,
    }
    read |= {f"parts.{name}": lambda answer, name=name: answer.parts.get(name) for name in parts_of(ours)}
    found = {name: difference(ours, theirs, one, seed) for name, one in read.items()}
    for k in powers(ours):
        left, right = passes_by_task(ours, k), passes_by_task(theirs, k)
        common = [task for task in left if task in right]
        values = [[side[task] for task in common] for side in (left, right)]
        found[f"pass@{k}"] = paired_difference(values[0], common, values[1], common, seed)
    return found


def difference(ours: Sequence[Answer], theirs: Sequence[Answer], read: Read, seed: int) -> Interval | None:
    """Return the mean of what `read` finds in ours less that in theirs; None where either has nothing."""
    left, right = (
        [(float(value), answer.task) for answer in answers if (value := read(answer)) is not None]
        for answers in (ours, theirs)
    )
    common = {task for _, task in left} & {task for _, task in right}
    values = [[value for value, task in side if task in common] for side in (left, right)]
    tasks = [[task for _, task in side if task in common] for side in (left, right)]
    return paired_difference(values[0], tasks[0], values[1], tasks[1], seed)


def paired_difference(
    left: Sequence[float], left_tasks: Sequence[Any], right: Sequence[float], right_tasks: Sequence[Any], seed: int
) -> Interval | None:
    """Return the mean of left less that of right over draws of tasks; without ends where no draw differs."""
    return unless_alike(difference_of(left, left_tasks, right, right_tasks, seed))
