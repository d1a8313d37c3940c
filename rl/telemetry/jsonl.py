"""JSON Lines files that survive being cut off: one write a line, and a torn last line is no row."""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


class JsonLines:
    """Append rows to a file, each there in full as soon as it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def write(self, *rows: Row) -> None:
        """Append rows in one write; where the disk is full none of them. Raises OSError."""
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode()
        before = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(text)
            if written != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(before)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, none where there is no file; a torn last line is left out.

    Raises ValueError naming the line for any other line that is no JSON object.
    """
    if not path.is_file():
        return []
    *lines, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number}: not valid JSON: {error.msg}; remove the line") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number}: should be a JSON object, not a {type(row).__name__}; remove the line")
        rows.append(row)
    return rows


def keep_rows(path: Path, keep: Callable[[Row], bool]) -> None:
    """Rewrite a file with only the rows to keep, atomically; a torn last line goes."""
    if path.is_file():
        kept = [row for row in read_rows(path) if keep(row)]
        write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))


def write_atomically(path: Path, text: str) -> None:
    """Write text to a file so that it is there whole or not at all, also after a power cut. Raises OSError."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
