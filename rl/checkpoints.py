"""Checkpoints that are there whole or not at all: written beside, hashed in a manifest, synced, renamed.

A stage's folder holds `checkpoint-<step>`, each with a manifest of its files; `.saving/` while one is written; and
`checkpoint-<step>.damaged` where one did not agree with its manifest. No torch.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rl.endings import first_line

MANIFEST = "manifest.json"
SAVING = ".saving"
DAMAGED = ".damaged"
PREFIX = "checkpoint-"
HASHERS = 4
NEARLY_FULL = 64 * 2**20  # bytes left on a disk that is taken to be full


class CheckpointError(OSError):
    """Say why a checkpoint cannot be written or read, and what is kept."""


def step_of(checkpoint: Path) -> int:
    """Return the step that a checkpoint was saved after; -1 for any other name."""
    number = checkpoint.name.removeprefix(PREFIX)
    return int(number) if number.isdigit() else -1


def seal(written: Path, facts: Mapping[str, Any]) -> Path:
    """Move a checkpoint that was written into `.saving/` to its place, with a manifest of its files and facts.

    Every file is hashed (SHA-256) and synced before. Raises OSError, after which nothing has moved.
    """
    files = sorted(path for path in written.rglob("*") if path.is_file())
    with ThreadPoolExecutor(HASHERS) as pool:
        entries = dict(zip((_name(path, written) for path in files), pool.map(_entry, files), strict=True))
    manifest = written / MANIFEST
    manifest.write_text(json.dumps({**facts, "files": entries}, indent=1) + "\n", encoding="utf-8")
    _sync(manifest)
    for folder in {path.parent for path in files} | {written}:
        _sync(folder)
    final = written.parent.parent / written.name
    if final.exists():  # a stage that was saved at this step by an earlier attempt, before it went back
        shutil.rmtree(final)
    written.rename(final)
    _sync(final.parent)
    return final


def fault_of(checkpoint: Path) -> str | None:
    """Say how a checkpoint differs from its manifest: a file missing, cut off or changed; None where it is whole."""
    manifest = _read_manifest(checkpoint)
    if manifest is None:
        return f"{MANIFEST} is missing or damaged"
    with ThreadPoolExecutor(HASHERS) as pool:
        faults = pool.map(lambda item: _fault_of_file(checkpoint / item[0], item[1]), manifest["files"].items())
        return next((fault for fault in faults if fault), None)


def facts_of(checkpoint: Path) -> dict[str, Any]:
    """Return what a whole checkpoint's manifest says of it beside its files."""
    manifest = _read_manifest(checkpoint) or {}
    return {name: value for name, value in manifest.items() if name != "files"}


def newest(folder: Path, say: Callable[[str], None]) -> Path | None:
    """Return a stage's newest checkpoint that is whole; newer ones that are not are named and put aside."""
    shutil.rmtree(folder / SAVING, ignore_errors=True)
    found = sorted(_all(folder), key=step_of, reverse=True)
    for checkpoint in found:
        fault = fault_of(checkpoint)
        if fault is None:
            return checkpoint
        aside = checkpoint.with_name(checkpoint.name + DAMAGED)
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.rename(aside)
        say(f"{checkpoint} is damaged ({fault}); it is put aside as {aside.name}, and the one before it is looked for")
    if found:
        say(f"no whole checkpoint is left in {folder}; the stage begins anew")
    return None


def rotate(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints of a stage."""
    for checkpoint in sorted(_all(folder), key=step_of)[:-keep]:
        shutil.rmtree(checkpoint)


def reason_of(error: BaseException, folder: Path) -> str:
    """Say why writing into folder failed, in words that tell a full disk from any other error."""
    text = first_line(error)
    number = getattr(error, "errno", None)
    full = number == 28 or "No space left" in str(error) or "os error 28" in str(error)
    left = free_bytes(folder)
    if full or (left is not None and left < NEARLY_FULL):
        return f"no space left on the disk of {folder}"
    return text


def free_bytes(folder: Path) -> int | None:
    """Return how much may still be written where folder is."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{PREFIX}*") if step_of(path) >= 0 and path.is_dir()]


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return {"bytes": path.stat().st_size, "sha256": digest}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_manifest(checkpoint: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None


def _fault_of_file(path: Path, entry: Mapping[str, Any]) -> str | None:
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            return f"{path.name} has {size} bytes of {entry['bytes']}"
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"
    return None if same else f"{path.name} is not what was written"
