"""Traces that are analysed: worked answers of a file, and whether each is right."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards import Rubric, Sample
from rewards.parse import after_marker
from rl import data

SUFFIXES = (".parquet", ".jsonl", ".json")


class AnalysisError(ValueError):
    """Say why something cannot be analysed, and what would do."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Hold where a trace stands, its question and completion, and whether it is right; None where nobody can say.

    `answer` is the gold one, where the row has any.
    """

    where: str
    question: str
    completion: str
    correct: bool | None
    answer: str | None = None


def read_traces(path: Path, limit: int | None, judge: Callable[[str, str, str], bool | None]) -> list[Trace]:
    """Return the traces of a file with the columns question and completion.

    Whether they are right is what the column `correct` says, as `rhythm eval` writes it, or else `judge`, from
    question, answer and completion; rows with neither have no verdict. Raises AnalysisError and DataError.
    """
    if not path.is_file():
        raise AnalysisError(f"{path}: there is no such file")
    if path.suffix.lower() not in SUFFIXES:
        raise AnalysisError(f"{path}: should end in one of {', '.join(SUFFIXES)}")
    found = []
    for where, row in data.file_rows(str(path)):
        if limit is not None and len(found) >= limit:
            break
        question, completion = _text(row, "question", where), _text(row, "completion", where)
        correct = row.get("correct")
        if correct is not None and not isinstance(correct, bool):
            raise AnalysisError(f"{where}: column 'correct' should be true, false or null, not {correct!r}")
        answer = None if row.get("answer") in (None, "") else str(row["answer"])
        if "correct" not in row and answer is not None:
            correct = judge(question, answer, completion)
        found.append(Trace(where, question, completion, correct, answer))
    if not found:
        raise AnalysisError(f"{path}: holds no rows")
    return found


def judge_by(rubric: Rubric, answer_after: str | None) -> Callable[[str, str, str], bool | None]:
    """Return what says by a rubric's rewards whether a completion is right; an answer is what follows a marker."""
    names = rubric.named("correct")

    def judge(question: str, answer: str, completion: str) -> bool | None:
        if answer_after is not None:
            answer = after_marker(answer, answer_after) or answer
        sample = Sample(question, answer, completion)
        return rubric.is_correct({name: rubric.part(name, sample) for name in names})

    return judge


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        there = ", ".join(row) or "none"
        raise AnalysisError(f"{where}: column {column!r} should hold text; columns there: {there}")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise AnalysisError(
            f"{where}: column {column!r} holds half of a surrogate pair, which is no text; mend the row"
        )
    return value
