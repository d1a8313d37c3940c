"""Where tasks come from: reasoning-gym, JSON Lines, Parquet, the hub. All refuse bad rows by file and line."""

import codecs
import dataclasses
import itertools
import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewards.parse import after_marker
from rl.data.task import DataError, Task
from rl.data.traces import TRACES
from rl.recipe.data_checks import FACTS
from rl.recipe.faults import suggestion


@dataclass(frozen=True)
class Columns:
    """Name the columns of a row; `answer_after` is the marker that the gold answer stands behind (GSM8K: ####)."""

    question: str = "question"
    answer: str = "answer"
    answer_after: str | None = None
    completion: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def from_reasoning_gym(
    name: str,
    size: int,
    seed: int,
    options: Mapping[str, Any],
    *,
    telling: str | None = None,
    limit: int | None = None,
) -> list[Task]:
    """Generate the first `limit` of size tasks, each from its own seed.

    `telling` adds a worked completion to each, for some as a curriculum, of those that TRACES has.

    Raises DataError for an unknown data set or option, and for a task that cannot be told so.
    """
    rows = _generated(name, size, seed, options)
    rng = random.Random(seed)
    writer = TRACES[telling][name] if telling else None
    tasks = []
    for index, row in enumerate(itertools.islice(rows, limit)):
        question, answer = row["question"], row["answer"]
        if answer is None:
            raise DataError(f"data.task: {name} has tasks without one right answer, which no reward here can judge")
        metadata = row["metadata"]
        try:
            trace = writer(question, answer, metadata, rng, index / size) if writer else None
        except ValueError as error:
            raise DataError(f"data.traces: {name}[{index}]: {error}") from None
        facts = {fact: metadata[fact] for fact in sorted(FACTS.get(name, ()))}
        tasks.append(Task(f"{name}[{index}]", question, str(answer), trace, facts=facts))
    return tasks


def _generated(name: str, size: int, seed: int, options: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Return the rows of one of reasoning-gym's data sets. Raises DataError."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if name not in DATASETS:
        hint = suggestion(name, DATASETS).split("; one of")[0]
        raise DataError(f"data.task: reasoning-gym has no data set {name!r}{hint}")
    try:
        return reasoning_gym.create_dataset(name, size=size, seed=seed, **options)
    except (TypeError, AssertionError, ValueError) as error:
        known = ", ".join(field.name for field in dataclasses.fields(DATASETS[name][1]))
        raise DataError(
            f"data.options: reasoning-gym's {name} refuses {dict(options)}: {error}; options: {known}"
        ) from None


def from_jsonl(path: str, columns: Columns) -> list[Task]:
    """Read tasks from a JSON Lines file; blank lines are faults, like every other line that is no JSON object."""
    return _tasks(path, jsonl_rows(path), columns)


def jsonl_rows(path: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Yield the rows of a JSON Lines file, each with where it stands. Raises DataError."""
    lines = _text_in(path).removesuffix("\n").split("\n")  # splitlines would cut at U+2028
    for number, line in enumerate(lines if lines != [""] else [], 1):
        where = f"{path}:{number}"
        yield where, row_of(line, where)


def _text_in(path: str) -> str:
    """Return the text of a file, without the mark of byte order that some editors put first. Raises DataError."""
    data = b""
    try:
        data = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
        return data.decode()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; data.path is relative to {Path.cwd()}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: is not UTF-8 text; convert the file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def row_of(line: str, where: str) -> Mapping[str, Any]:
    """Return the row that a line of JSON Lines holds. Raises DataError."""
    if not line.strip():
        raise DataError(f"{where}: the line is empty; delete it or write a JSON object")
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON at column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not usable JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: should be a JSON object, not a {type(row).__name__}")
    return row


def from_parquet(path: str, columns: Columns) -> list[Task]:
    """Read tasks from a Parquet file."""
    return _tasks(path, parquet_rows(path), columns)


def parquet_rows(path: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Return the rows of a Parquet file, each with where it stands. Raises DataError."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; data.path is relative to {Path.cwd()}") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    return [(f"{path}: row {index}", row) for index, row in enumerate(table.to_pylist())]


def json_rows(path: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Return the rows of a JSON file that holds a list of objects, each with where it stands. Raises DataError."""
    text = _text_in(path)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: should hold a list of JSON objects")
    return [(f"{path}: row {index}", row) for index, row in enumerate(rows)]


def file_rows(path: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Return the rows of a JSON, JSON Lines or Parquet file, by its suffix. Raises DataError."""
    readers = {".json": json_rows, ".jsonl": jsonl_rows, ".parquet": parquet_rows}
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        raise DataError(f"data.path: {path} should end in one of {', '.join(readers)}")
    return reader(path)


def from_hub(name: str, subset: str | None, split: str, revision: str | None, columns: Columns) -> list[Task]:
    """Download tasks from a data set on the Hugging Face hub, or take them from its local cache."""
    return _tasks(name, hub_rows(name, subset, split, revision), columns)


def hub_rows(
    name: str, subset: str | None, split: str, revision: str | None
) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Return the rows of a data set on the hub, each with where it stands. Raises DataError."""
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        rows = datasets.load_dataset(name, subset, split=split, revision=revision)
    except (OSError, ValueError, DatasetsError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"data.name: cannot load {name!r} (split {split}) from the hub: {reason}") from None
    return ((f"{name}/{split}: row {index}", row) for index, row in enumerate(rows))  # pyright: ignore


def _tasks(source: str, rows: Iterable[tuple[str, Mapping[str, Any]]], columns: Columns) -> list[Task]:
    tasks = []
    for where, row in rows:
        answer = text_of(row, columns.answer, "answer", where)
        if columns.answer_after is not None:
            found = after_marker(answer, columns.answer_after)
            if not found:
                raise DataError(f"{where}: column {columns.answer!r} has no {columns.answer_after!r} before an answer")
            answer = found
        completion = None if columns.completion is None else text_of(row, columns.completion, "completion", where)
        question = text_of(row, columns.question, "question", where)
        facts = {fact: _fact(row, column, fact, where) for fact, column in columns.facts.items()}
        tasks.append(Task(where, question, answer, completion, facts=facts))
    if not tasks:
        raise DataError(f"{source}: holds no rows; a run needs at least one task")
    return tasks


def _fact(row: Mapping[str, Any], column: str, fact: str, where: str) -> Any:
    if row.get(column) is None:
        there = ", ".join(row) or "none"
        raise DataError(f"{where}: the task has no fact {fact} (column {column!r}); columns there: {there}")
    return checked_fact(row[column], f"{where}: column {column!r}")


def checked_fact(value: Any, where: str) -> Any:
    """Return what rewards will see beside the answer. Raises DataError where JSON, which records keep it as, cannot."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{where}: should be what JSON can hold: {error}") from None
    return value


def text_of(row: Mapping[str, Any], column: str, role: str, where: str) -> str:
    """Return a column of a row as text. Raises DataError where it is none that a task can hold."""
    value = row.get(column)
    if value is None:
        there = ", ".join(row) or "none"
        hint = f"columns there: {there}; name the right one in data.{role}" if column not in row else "it is null"
        raise DataError(f"{where}: the task has no {role} (column {column!r}): {hint}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}: column {column!r} should be text or a number, not a {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{where}: the task's {role} (column {column!r}) is {value}, which no number is equal to")
    if not str(value).strip():
        raise DataError(f"{where}: the task has an empty {role} (column {column!r})")
    text = str(value)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise DataError(f"{where}: column {column!r} holds half of a surrogate pair, which is no text; mend the row")
    return text
