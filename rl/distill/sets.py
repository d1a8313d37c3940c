"""The three paired sets as Parquet, each row with where it came from, and what was dropped with its reason."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow
import pyarrow.parquet

from rl.data import Task
from rl.distill.versions import Version, Versions
from rl.telemetry.jsonl import JsonLines

SETS = ("echo", "plain", "matched")
BATCH = 512
SCHEMA = pyarrow.schema(
    [
        ("pair", pyarrow.string()),
        ("question", pyarrow.string()),
        ("answer", pyarrow.string()),
        ("completion", pyarrow.string()),
        ("edit", pyarrow.string()),
        ("opening_tokens", pyarrow.int32()),
        ("tokens", pyarrow.int32()),
        ("source", pyarrow.string()),
        ("teacher", pyarrow.string()),
        ("seed", pyarrow.int64()),
        ("temperature", pyarrow.float64()),
        ("trace_sha256", pyarrow.string()),
        ("completion_sha256", pyarrow.string()),
    ]
)


class Sets:
    """Write pairs and drops as they come; the sets appear together, and whole, at the end of the `with` block."""

    def __init__(self, folder: Path, teacher: str, temperature: float) -> None:
        self.folder, self.teacher, self.temperature = folder, teacher, temperature
        self.pairs = 0
        self.dropped: Counter[str] = Counter()
        self.edits: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SETS}

    def __enter__(self) -> Self:
        self._writers = {name: pyarrow.parquet.ParquetWriter(self._part(name), SCHEMA) for name in SETS}
        self._part("dropped").unlink(missing_ok=True)
        self._drops = JsonLines(self._part("dropped"))
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        for writer in self._writers.values():
            writer.close()
        self._drops.close()
        for name in (*SETS, "dropped"):
            part = self._part(name)
            part.replace(self._whole(name)) if kind is None else part.unlink(missing_ok=True)

    def _whole(self, name: str) -> Path:
        return self.folder / (f"{name}.parquet" if name in SETS else f"{name}.jsonl")

    def _part(self, name: str) -> Path:
        return self.folder / f"{self._whole(name).name}.part"

    def add(self, task: Task, key: str, seed: int, trace: str, versions: Versions) -> None:
        """Add the three versions of a trace, as one pair."""
        self.pairs += 1
        made: Mapping[str, Version] = {"echo": versions.echo, "plain": versions.plain, "matched": versions.matched}
        for name, version in made.items():
            row = {
                "pair": key,
                "question": task.question,
                "answer": task.answer,
                "completion": version.completion,
                "edit": version.edit,
                "opening_tokens": version.opening_tokens,
                "tokens": version.tokens,
                "source": task.source,
                "teacher": self.teacher,
                "seed": seed,
                "temperature": self.temperature,
                "trace_sha256": digest(trace),
                "completion_sha256": digest(version.completion),
            }
            self._rows[name].append(row)
            self.edits[f"{name} {version.edit}"] += 1
            self.tokens[name] += version.tokens
        if len(self._rows["echo"]) >= BATCH:
            self._flush()

    def drop(self, task: Task, key: str, reason: str, detail: str = "") -> None:
        """Write down why a prompt or a trace is in no set; the detail of a reason is not counted apart."""
        self.dropped[reason] += 1
        self._drops.write(
            {"key": key, "source": task.source, "reason": reason, **({"detail": detail} if detail else {})}
        )

    def _flush(self) -> None:
        for name, rows in self._rows.items():
            self._writers[name].write_table(pyarrow.Table.from_pylist(rows, SCHEMA))
            rows.clear()


def digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
