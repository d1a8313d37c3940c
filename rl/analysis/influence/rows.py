"""Rows of a file of any size, and tables of them: never more than a chunk of rows is held."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from rl.analysis.traces import AnalysisError
from rl.data import DataError, row_of

CHUNK = 1024
Row = tuple[str, Mapping[str, Any]]


def stream(path: Path, limit: int | None = None) -> Iterator[Row]:
    """Yield the rows of a .parquet or .jsonl file, each with where it stands. Raises AnalysisError and DataError."""
    if not path.is_file():
        raise AnalysisError(f"{path}: there is no such file")
    readers: dict[str, Callable[[Path], Iterator[Row]]] = {".parquet": _parquet, ".jsonl": _jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise AnalysisError(f"{path}: should end in .parquet or .jsonl")
    yield from itertools.islice(reader(path), limit)


def chunks(path: Path, limit: int | None = None) -> Iterator[list[Row]]:
    """Yield the rows of a file in chunks."""
    rows = stream(path, limit)
    while chunk := list(itertools.islice(rows, CHUNK)):
        yield chunk


def schema_of(path: Path, limit: int | None = None) -> tuple[pyarrow.Schema, int]:
    """Return the columns of a file, and how many rows are read. Raises AnalysisError where rows do not go together."""
    if path.suffix.lower() == ".parquet" and path.is_file():
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                count = file.metadata.num_rows
                return file.schema_arrow, count if limit is None else min(limit, count)
        except (pyarrow.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None
    schema, count = pyarrow.schema([]), 0
    for chunk in chunks(path, limit):
        keys = dict.fromkeys(key for _, row in chunk for key in row)
        try:
            found = pyarrow.Table.from_pylist([{key: row.get(key) for key in keys} for _, row in chunk]).schema
            schema = pyarrow.unify_schemas([schema, found], promote_options="permissive")
        except (pyarrow.ArrowException, OverflowError) as error:
            where = f"{chunk[0][0]} to {chunk[-1][0]}"
            raise AnalysisError(f"{where}: a column holds values of several types: {error}; make them one") from None
        count += len(chunk)
    return schema, count


def write_tables(
    rows: Iterator[list[Row]],
    schema: pyarrow.Schema,
    scores: Sequence[float | None],
    kept: Sequence[bool],
    folder: Path,
) -> None:
    """Write all rows with their scores to scored.parquet and the kept ones to top.parquet, whole or not at all."""
    full = schema.append(pyarrow.field("influence", pyarrow.float64()))
    paths = [folder / name for name in ("scored.parquet", "top.parquet")]
    parts = [path.with_name(path.name + ".part") for path in paths]
    try:
        with (
            pyarrow.parquet.ParquetWriter(parts[0], full) as scored,
            pyarrow.parquet.ParquetWriter(parts[1], full) as top,
        ):
            start = 0
            for chunk in rows:
                own = slice(start, start + len(chunk))
                start += len(chunk)
                told = [{**row, "influence": score} for (_, row), score in zip(chunk, scores[own], strict=True)]
                table = pyarrow.Table.from_pylist(told, schema=full)
                scored.write_table(table)
                top.write_table(table.filter(pyarrow.array(list(kept[own]), pyarrow.bool_())))
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _jsonl(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                where = f"{path}:{number}"
                yield where, row_of(line.removesuffix("\n"), where)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start} of a part); convert it") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _parquet(path: Path) -> Iterator[Row]:
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(CHUNK):
                for row in batch.to_pylist():
                    yield f"{path}: row {number}", row
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}")
