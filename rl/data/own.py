"""Tasks that a function of the user's own makes."""

import itertools
from collections.abc import Mapping
from typing import Any

from rewards.base import said
from rewards.own import named
from rl.data.sources import checked_fact, text_of
from rl.data.task import DataError, Task

KEYS = ("question", "answer", "completion", "system", "facts")


def from_python(path: str, seed: int, options: Mapping[str, Any], *, worked: bool, limit: int | None) -> list[Task]:
    """Call the function at an import path with a seed and options, and return the first `limit` tasks that it gives.

    It gives tasks, or mappings of `question`, `answer` and, where there are any, `completion`, `system` and `facts`.
    Where `worked`, each must have a completion. Raises DataError, also where the function raises.
    """
    try:
        function: Any = named(path)
    except LookupError as error:
        raise DataError(f"data.tasks: {error.args[0] if error.args else path}") from None
    try:
        rows = list(itertools.islice(iter(function(seed, **options)), limit))
    except (Exception, SystemExit) as error:
        raise DataError(f"data.tasks: {path} failed: {said(error)}") from error
    if not rows:
        raise DataError(f"data.tasks: {path} gave no tasks; a run needs at least one")
    return [_task(row, f"{path}[{index}]", worked) for index, row in enumerate(rows)]


def _task(row: object, where: str, worked: bool) -> Task:
    if isinstance(row, Task):
        held = {"question": row.question, "completion": row.completion, "system": row.system}
        held |= {"answer": row.answer} if row.answer else {}  # a task may have no gold answer
        facts: object = row.facts
    elif isinstance(row, Mapping):
        held, facts = dict(row), row.get("facts") or {}
        if odd := [str(key) for key in row if key not in KEYS]:
            raise DataError(
                f"{where}: has {', '.join(odd)}; a row has {', '.join(KEYS)}, and what else rewards see in facts"
            )
        if row.get("answer") is None:
            raise DataError(f"{where}: the task has no answer; a row has question and answer")
    else:
        raise DataError(f"{where}: should be a mapping with question and answer, or a Task, not a {type(row).__name__}")
    if held.get("question") is None:
        raise DataError(f"{where}: the task has no question; a row has question and answer")
    if not isinstance(facts, Mapping):
        raise DataError(f"{where}: facts should be a mapping, not a {type(facts).__name__}")
    kept = checked_fact(dict(facts), f"{where}: facts")
    if worked and held.get("completion") is None:
        raise DataError(f"{where}: the task has no completion, which an sft stage learns from")
    texts = {key: text_of(held, key, key, where) for key in KEYS[:4] if held.get(key) is not None}
    return Task(
        where,
        texts["question"],
        texts.get("answer", ""),
        texts.get("completion"),
        texts.get("system"),
        kept,
    )
