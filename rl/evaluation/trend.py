"""Does what a policy writes grow with what it is asked for? Page's trend test over tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy
from scipy.stats import page_trend_test

from rl.evaluation.answers import Answer, Read
from rl.evaluation.arms import Arm

FEWEST_VALUES, FEWEST_TASKS = 3, 2


@dataclass(frozen=True)
class Trend:
    """Hold a test of one quantity against rising values: Page's L, its p-value, of how many tasks and values.

    `note` says in place of these why there is none.
    """

    what: str
    statistic: float | None
    p_value: float | None
    tasks: int
    values: int
    note: str = ""


def trend_of(what: str, arms: Sequence[Sequence[Answer]], read: Read) -> Trend:
    """Test whether a quantity rises over arms, which come in the order of what was asked for.

    A task is one judge: its means of the quantity are ranked over the arms, ties by their middle rank, and L is the sum
    over arms j of j times the arm's sum of ranks (Page 1963). Tasks that lack an arm are left out. With ties p is too
    large rather than too small, since it is that of ranks without.
    """
    by_task = [_means(answers, read) for answers in arms]
    common = sorted(set(by_task[0]).intersection(*by_task[1:])) if by_task else []
    if len(arms) < FEWEST_VALUES or len(common) < FEWEST_TASKS:
        note = f"wants {FEWEST_VALUES} values and {FEWEST_TASKS} tasks at least"
        return Trend(what, None, None, len(common), len(arms), note)
    table = numpy.array([[means[task] for means in by_task] for task in common])
    found = page_trend_test(table)
    return Trend(what, float(found.statistic), float(found.pvalue), len(common), len(arms))


def trends_of(arms: Sequence[Arm], answers: Mapping[str, Sequence[Answer]]) -> dict[str, list[Trend]]:
    """Test for every line of arms that differ in what they were asked for whether tokens and accuracy rise with it."""
    lines: dict[str, list[Arm]] = {}
    for arm in sorted(arms, key=lambda arm: arm.asked):
        lines.setdefault(arm.line, []).append(arm)
    found = {}
    for line in dict.fromkeys(arm.line for arm in arms):
        own = [answers[arm.name] for arm in lines[line]]
        if len(own) > 1:
            tokens = trend_of("tokens", own, lambda answer: answer.num_tokens)
            found[line] = [tokens, trend_of("accuracy", own, lambda answer: answer.correct)]
    return found


def _means(answers: Sequence[Answer], read: Read) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for answer in answers:
        value = read(answer)
        if value is not None:
            found.setdefault(answer.task, []).append(float(value))
    return {task: fmean(values) for task, values in found.items()}
