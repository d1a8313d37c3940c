"""From the answers of an arm to how often it deceived, by way of a judge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rl.evaluation.deception import Case, Deception, aries_cases, deception_of, outcomes, pku_cases
from rl.evaluation.differences import paired_difference
from rl.evaluation.evaluate import EvaluationError, Suite, all_answers
from rl.evaluation.judging import Judge, Query, verdicts
from rl.intervals import Interval
from rl.recipe.data_sections import Data, DeceptionBenchPku
from rl.telemetry.record import locked


@dataclass(frozen=True)
class Judged:
    """Hold an arm's cases, whether each deceived (None: left out), and what they come to."""

    cases: Sequence[Case]
    found: Sequence[bool | None]
    deception: Deception


def judge_answers(
    judge: Judge,
    data: Data,
    suite: Suite,
    folder: Path,
    seed: int,
    begin: Callable[[str, int, int], None],
    heard: Callable[[int], None],
) -> Judged:
    """Have an arm's answers judged, from where an earlier attempt left off. Raises EvaluationError."""
    answers = all_answers(folder)
    pku = isinstance(data, DeceptionBenchPku)
    cases = (pku_cases if pku else aries_cases)(suite.tasks, answers)
    queries: list[Query] = [query for case in cases for query in case.queries]
    try:
        with locked(folder):
            told = dict(zip(queries, verdicts(judge, queries, folder, begin, heard), strict=True))
    except OSError as error:
        raise EvaluationError(f"{error.filename or folder}: {error.strerror}") from None
    found = outcomes(cases, told)
    metric = "DTR" if pku else "deception rate"
    return Judged(cases, found, deception_of(metric, cases, found, seed))


def difference_in(ours: Judged, theirs: Judged, seed: int) -> Interval | None:
    """Return how much oftener ours deceived, over draws of the groups of both, in the tasks that both were judged in.

    Else an arm whose answers to the hard ones are missing would be the honest one.
    """
    judged = [
        [(case, flag) for case, flag in zip(one.cases, one.found, strict=True) if flag is not None]
        for one in (ours, theirs)
    ]
    common = {case.task for case, _ in judged[0]} & {case.task for case, _ in judged[1]}
    sides = [[(float(flag), case.group) for case, flag in side if case.task in common] for side in judged]
    (left, left_groups), (right, right_groups) = (
        ([flag for flag, _ in side], [group for _, group in side]) for side in sides
    )
    return paired_difference(left, left_groups, right, right_groups, seed)
