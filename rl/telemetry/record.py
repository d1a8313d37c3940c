"""The run directory: what it holds, how it starts, and how it is taken up again."""

import contextlib
import fcntl
import json
import logging
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rl.telemetry import attempts
from rl.telemetry.jsonl import JsonLines, Row, keep_rows, read_rows, write_atomically


class RunError(ValueError):
    """Say why a run directory cannot be used, and what would do."""


class RunDirectory:
    """Hold the paths of a run and write its rows.

    recipe.json, environment.json, metrics.jsonl, samples.jsonl, heads.jsonl, train.log, logs/, checkpoints/<stage>/,
    report.html.
    """

    def __init__(self, path: Path, lock_seconds: float = 0.0) -> None:
        self.path = path
        self._lock = _lock(path, lock_seconds)
        self._unended = threading.Lock()
        self.environment = path / "environment.json"
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
            attempts.create(run.environment, secrets.token_hex(6), environment)
            # Last, since it is what makes the folder a run.
            write_atomically(path / "recipe.json", json.dumps(recipe, indent=2) + "\n")
            return run
        except OSError as error:
            raise _unwritable(path, error) from None

    @classmethod
    def prepare(cls, path: Path, recipe: Mapping[str, Any]) -> None:
        """Make a run in a new or empty folder, for an attempt that takes it up later. Raises RunError."""
        check_new(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            attempts.create(path / "environment.json", secrets.token_hex(6), None)
            write_atomically(path / "recipe.json", json.dumps(recipe, indent=2) + "\n")
        except OSError as error:
            raise _unwritable(path, error) from None

    @classmethod
    def resume(
        cls, path: Path, recipe: Mapping[str, Any], environment: Mapping[str, Any], *, requeued: bool = False
    ) -> "RunDirectory":
        """Take up the run in path, whose recipe must be the same. Raises RunError.

        A job that Slurm requeued may find its last attempt still going, and waits for it; one that has died twice at
        the same step is not taken up.
        """
        stored = read_recipe(path)
        changed = sorted(key for key in _differences(stored, recipe) if not key.startswith("cluster.slurm"))
        if changed:
            keys = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
            raise RunError(
                f"{path}: was started with another recipe ({keys}); leave the recipe out to go on with its own"
            )
        try:
            run = cls(path, LOCK_SECONDS if requeued else 0.0)
            last = next(reversed(read_rows(run.metrics.path)), None)
            attempts.begin(run.environment, environment, last)
        except (OSError, ValueError) as error:
            if isinstance(error, RunError):
                raise
            text = getattr(error, "strerror", None) or str(error)
            raise RunError(f"{path}: the run cannot be taken up: {text}") from None
        reason = attempts.reason_to_stop(run.environment) if requeued else None
        if reason:
            run.end("refused", reason)
            raise RunError(f"{path}: {reason}")
        return run

    @property
    def attempt(self) -> int:
        """Return the number of this attempt, from 1 on."""
        return len(attempts.read(self.environment))

    def end(self, how: attempts.How, reason: str = "") -> None:
        """Write down how this attempt ended, and for a job of Slurm's, where another makes no sense, why not.

        What is said first stands: a watchdog may speak beside the training's thread. A run that cannot be written to
        any more says nothing.
        """
        if not self._unended.acquire(blocking=False):
            return
        with contextlib.suppress(OSError, ValueError):
            attempts.end(self.environment, how, reason, next(reversed(read_rows(self.metrics.path)), None))
            why = reason if how in ("alarmed", "refused") else attempts.reason_to_stop(self.environment)
            if why and (self.path / LAUNCH).is_dir():
                write_atomically(self.path / LAUNCH / STOPPED, why + "\n")

    @property
    def id(self) -> str:
        """Return the run's own name among all runs, the same in every attempt."""
        return json.loads(self.environment.read_text(encoding="utf-8"))["id"]

    def rewind(self, stages_done: Sequence[str], stage: str | None, step: int) -> int:
        """Drop rows that a resumed run writes again: those of stage after step, and of stages not begun.

        Return how many of stage's metrics before that are missing, which only damage can have taken.
        """

        def keep(row: Row) -> bool:
            return row["stage"] in stages_done or (row["stage"] == stage and row["step"] <= step)

        for writer in (self.metrics, self.samples, self.heads):
            writer.close()
            keep_rows(writer.path, keep)
        self.metrics, self.samples, self.heads = (
            JsonLines(writer.path) for writer in (self.metrics, self.samples, self.heads)
        )
        return step - sum(row["stage"] == stage for row in read_rows(self.metrics.path))

    def close(self) -> None:
        """Close the files and let another process have the run."""
        for writer in (self.metrics, self.samples, self.heads):
            writer.close()
        self._lock.close()


LAUNCH, STOPPED = "launch", "stopped"  # a job's own files, and among them the word to make no further attempt
LOCK_SECONDS = 90.0  # how long an attempt before this one may take to end


def is_over(path: Path) -> bool:
    """Say whether the run in path has finished, or was stopped by an alarm. Raises RunError where there is no run."""
    return has_finished(path) or ended(path) == "alarmed"


def ended(path: Path) -> str | None:
    """Return how the last attempt at the run in path ended; None where none has, or that cannot be read."""
    try:
        last = attempts.read(path / "environment.json")[-1:]
    except (OSError, ValueError):  # what is wrong with it is said where the run is taken up
        return None
    return next(((one.get("ended") or {}).get("how") for one in last), None)


def has_finished(path: Path) -> bool:
    """Say whether the run in path has nothing left to do: its last attempt finished, and all that it made is there.

    Raises RunError where there is no run.
    """
    stages = [stage.get("name") for stage in read_recipe(path).get("stages", []) if isinstance(stage, dict)]
    there = all((path / "checkpoints" / str(stage) / "final").is_dir() for stage in stages)
    return ended(path) == "finished" and there and (path / "report.html").is_file()


def last_policy(path: Path) -> Path | None:
    """Return the policy of the stage that a run finished last; None where path is no run. Raises RunError."""
    if not (path / "recipe.json").is_file():
        return None
    finished = sorted((path / "checkpoints").glob("*/final"), key=lambda folder: folder.stat().st_mtime)
    if not finished:
        raise RunError(f"{path}: no stage of this run has ended yet, so there is no policy")
    return finished[-1]


def is_written(path: Path) -> bool:
    """Say whether a process of this machine, or of another that shares its locks, is writing the run now."""
    try:
        _lock(path, 0.0).close()
    except OSError:
        return False
    except RunError:
        return True
    return False


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes off a folder inside. Raises RunError where one is there."""
    file = _lock(folder, 0.0)
    try:
        yield
    finally:
        file.close()


def _lock(path: Path, seconds: float) -> IO[str]:
    """Keep other processes off the run, as long as this one lives. Raises RunError where one is there for seconds."""
    file = (path / ".lock").open("w")
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                raise RunError(f"{path}: another process is writing there; wait for it or stop it") from None
            time.sleep(1.0)
            continue
        except OSError as error:  # a file system without locks
            logging.getLogger("rhythm").info("%s cannot be locked: %s", path, error)
        return file


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(f"{path}: cannot write a run there: {error.strerror}; give --run-dir another folder")


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


def check_taken_up(path: Path) -> None:
    """Raise RunError where what a run wrote down is too damaged to go on with it."""
    try:
        if (path / "environment.json").is_file():
            attempts.read(path / "environment.json")
        read_rows(path / "metrics.jsonl")
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise RunError(f"{path}: the run cannot be taken up: {text}") from None


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the recipe of the run in path. Raises RunError where there is none."""
    try:
        recipe = json.loads((path / "recipe.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path}: holds no run (no recipe.json)") from None
    except NotADirectoryError:
        raise RunError(f"{path}: is a file, and no folder of a run") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path / 'recipe.json'}: cannot be read: {error}; put back a copy, or start anew") from None
    if not isinstance(recipe, dict):
        raise RunError(f"{path / 'recipe.json'}: should be a JSON object; put back a copy, or start anew")
    return recipe


def _differences(left: Any, right: Any, key: str = "") -> set[str]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return {
            found
            for name in {*left, *right}
            for found in _differences(left.get(name), right.get(name), f"{key}.{name}".lstrip("."))
        }
    return set() if left == right else {key}
