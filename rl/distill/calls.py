"""What a teacher was asked and what came back: one line a call, so that nothing is asked, or paid for, twice.

A call that failed is a line too, and is made again when the work is resumed.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rl.endpoint import Answer, Failure, Request
from rl.telemetry.jsonl import JsonLines

WINDOW = 256  # calls that are under way or wait at a time


class DistillError(ValueError):
    """Say why data cannot be made, and what would do."""


Group = Sequence[tuple[str, Request]]
"""The calls of one question, each with its key."""


class Teacher(Protocol):
    """Whoever answers requests: an endpoint, or a model here.

    One that draws the answers to a question together gives the same ones again only if it is asked for all of them.
    """

    together: bool

    def ask(self, requests: Mapping[str, Request], heard: Callable[[str, Answer | Failure], None]) -> None:
        """Answer all requests and tell `heard` of each; keys come back as they were."""
        ...


class Calls:
    """The calls of one kind, in a JSON Lines file: what each said, by its key.

    Only where an answer stands in the file is kept in memory, and is read from there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, int] = {}
        self.failed: dict[str, str] = {}
        if path.is_file():
            _cut_torn_line(path)
            place = 0
            with path.open("rb") as file:
                for line in file:
                    self._note(self._row(line, place), place)
                    place += len(line)

    def _row(self, line: bytes, place: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
            if not isinstance(row["key"], str) or not isinstance(row.get("text", row.get("failed")), str):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise DistillError(
                f"{self.path}: byte {place}: is no row of ours; remove what begins there, and resume"
            ) from None
        return row

    def _note(self, row: Mapping[str, Any], place: int) -> None:
        if "text" in row:
            self._places[row["key"]] = place
            self.failed.pop(row["key"], None)
        elif row["key"] not in self._places:
            self.failed[row["key"]] = row["failed"]

    def __contains__(self, key: str) -> bool:
        """Say whether a call has been answered."""
        return key in self._places

    def __len__(self) -> int:
        """Count the calls that have been answered."""
        return len(self._places)

    def get(self, key: str) -> Answer | None:
        """Return what a call was answered; None where it failed, or was not made."""
        place = self._places.get(key)
        if place is None:
            return None
        with self.path.open("rb") as file:
            file.seek(place)
            row = self._row(file.readline(), place)
        return Answer(row["text"], bool(row.get("cut")))

    def make(self, teacher: Teacher, groups: Iterable[Group], patience: int, heard: Callable[[], None]) -> None:
        """Make the calls that have not been answered, and write each answer down as it comes.

        Raises DistillError after `patience` failures in a row.
        """
        left = (group for group in groups if any(key not in self for key, _ in group))
        if not teacher.together:
            left = ([(key, request) for key, request in group if key not in self] for group in left)
        writer = JsonLines(self.path)
        in_a_row = 0

        def note(key: str, found: Answer | Failure) -> None:
            nonlocal in_a_row
            if key in self:  # drawn again for the sake of the others
                return
            place = self.path.stat().st_size
            row: dict[str, Any] = {"key": key}
            row |= {"text": _writable(found.text), "cut": found.cut} if isinstance(found, Answer) else {}
            row |= {"failed": _writable(found.reason)} if isinstance(found, Failure) else {}
            writer.write(row)
            self._note(row, place)
            heard()
            in_a_row = in_a_row + 1 if isinstance(found, Failure) and not found.refused else 0
            if in_a_row >= patience:
                raise DistillError(
                    f"the teacher failed {in_a_row} times in a row (distill.failures), the last time with: "
                    f"{row['failed']}; what it said before is kept: mend that, and --resume"
                )

        try:
            for window in _windows(left):
                teacher.ask(window, note)
        finally:
            writer.close()


def _windows(groups: Iterable[Group]) -> Iterator[dict[str, Request]]:
    window: dict[str, Request] = {}
    for group in groups:
        window.update(group)
        if len(window) >= WINDOW:
            yield window
            window = {}
    if window:
        yield window


def _writable(text: str) -> str:
    """Return a text that can be written as UTF-8: half a surrogate pair, which a model may emit, becomes a mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _cut_torn_line(path: Path) -> None:
    """Cut off a last line that was not written in full."""
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        step, place = 1 << 16, size
        while place:
            start = max(0, place - step)
            file.seek(start)
            end = file.read(place - start).rfind(b"\n")
            if end >= 0:
                file.truncate(start + end + 1)
                return
            place = start
        file.truncate(0)
