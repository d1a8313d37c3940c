"""The run directory: what it holds, how it starts, and how it is taken up again."""

import fcntl
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl.telemetry.jsonl import JsonLines, Row, keep_rows, write_atomically


class RunError(ValueError):
    """Say why a run directory cannot be used, and what would do."""


class RunDirectory:
    """Hold the paths of a run and write its rows.

    recipe.json, environment.json, metrics.jsonl, samples.jsonl, heads.jsonl, train.log, checkpoints/<stage>/,
    report.html.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = (path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{path}: another process is writing this run; wait for it or stop it") from None
        self.recipe = path / "recipe.json"
        self.environment = path / "environment.json"
        self.checkpoints = path / "checkpoints"
        self.log = path / "train.log"
        self.metrics = JsonLines(path / "metrics.jsonl")
        self.samples = JsonLines(path / "samples.jsonl")
        self.heads = JsonLines(path / "heads.jsonl")

    @classmethod
    def create(cls, path: Path, recipe: Mapping[str, Any], environment: Mapping[str, Any]) -> "RunDirectory":
        """Start a run in a new or empty folder. Raises RunError for any other, and where it cannot be written."""
        check_new(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            run = cls(path)
            known = {"id": secrets.token_hex(6), **environment}
            write_atomically(path / "environment.json", json.dumps(known, indent=2) + "\n")
            # Last, since it is what makes the folder a run.
            write_atomically(path / "recipe.json", json.dumps(recipe, indent=2) + "\n")
            return run
        except OSError as error:
            raise RunError(
                f"{path}: cannot write a run there: {error.strerror}; give --run-dir another folder"
            ) from None

    @classmethod
    def resume(cls, path: Path, recipe: Mapping[str, Any], environment: Mapping[str, Any]) -> "RunDirectory":
        """Take up the run in path, whose recipe must be the same. Raises RunError."""
        stored = read_recipe(path)
        changed = sorted(_differences(stored, recipe))
        if changed:
            keys = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
            raise RunError(
                f"{path}: was started with another recipe ({keys}); leave the recipe out to go on with its own"
            )
        try:
            run = cls(path)
            known = json.loads(run.environment.read_text(encoding="utf-8"))
            if not (isinstance(known, dict) and isinstance(known.get("id"), str)):
                raise ValueError("should be an object with the run's id")
            attempts = [*(known.get("attempts") or []), environment]
            write_atomically(run.environment, json.dumps({**known, "attempts": attempts}, indent=2) + "\n")
        except (OSError, ValueError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(f"{path / 'environment.json'}: the run cannot be taken up: {error}; start another") from None
        return run

    @property
    def id(self) -> str:
        """Return the run's own name among all runs, the same in every attempt."""
        return json.loads(self.environment.read_text(encoding="utf-8"))["id"]

    def stage_folder(self, stage: str) -> Path:
        """Return where a stage's checkpoints and its final policy are."""
        return self.checkpoints / stage

    def final_policy(self, stage: str) -> Path:
        """Return where a stage's policy is once the stage has ended; the folder appears whole."""
        return self.stage_folder(stage) / "final"

    def newest_checkpoint(self, stage: str) -> Path | None:
        """Return a stage's newest complete checkpoint; folders of saves that were cut off are removed."""
        folder = self.stage_folder(stage)
        found = sorted(folder.glob("checkpoint-*"), key=self.step_of)
        complete = [path for path in found if (path / COMPLETE).is_file()]
        for path in found:
            if path not in complete:
                shutil.rmtree(path)
        return complete[-1] if complete else None

    @staticmethod
    def step_of(checkpoint: Path) -> int:
        """Return the step that a checkpoint was saved after."""
        number = checkpoint.name.removeprefix("checkpoint-")
        return int(number) if number.isdigit() else -1

    def rewind(self, stages_done: Sequence[str], stage: str | None, step: int) -> None:
        """Drop rows that a resumed run writes again: those of stage after step, and of stages not begun."""

        def keep(row: Row) -> bool:
            return row["stage"] in stages_done or (row["stage"] == stage and row["step"] <= step)

        for writer in (self.metrics, self.samples, self.heads):
            writer.close()
            keep_rows(writer.path, keep)
        self.metrics, self.samples, self.heads = (
            JsonLines(writer.path) for writer in (self.metrics, self.samples, self.heads)
        )

    def close(self) -> None:
        """Close the files and let another process have the run."""
        for writer in (self.metrics, self.samples, self.heads):
            writer.close()
        self._lock.close()


COMPLETE = "complete.json"  # the last file of a checkpoint that is written


def check_new(path: Path) -> None:
    """Raise RunError where a new run may not start in path."""
    try:
        if path.is_file():
            raise RunError(f"{path}: is a file; give --run-dir another folder")
        occupied = path.is_dir() and any(path.iterdir())
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}; give --run-dir another folder") from None
    if occupied:
        is_run = (path / "recipe.json").is_file()
        remedy = "--resume goes on with it" if is_run else "it is no run; give --run-dir another folder"
        raise RunError(f"{path}: is there already and is never overwritten; {remedy}")


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the recipe of the run in path. Raises RunError where there is none."""
    try:
        recipe = json.loads((path / "recipe.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path}: holds no run (no recipe.json)") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path / 'recipe.json'}: cannot be read: {error}") from None
    if not isinstance(recipe, dict):
        raise RunError(f"{path / 'recipe.json'}: should be a JSON object")
    return recipe


def _differences(left: Any, right: Any, key: str = "") -> set[str]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return {
            found
            for name in {*left, *right}
            for found in _differences(left.get(name), right.get(name), f"{key}.{name}".lstrip("."))
        }
    return set() if left == right else {key}
