"""What was launched: the record of a run's job or of an array's, what is left of it, and its end."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rl.endings import first_line
from rl.launch import slurm
from rl.launch.slurm import LaunchError
from rl.recipe import resolve
from rl.recipe.sections import Recipe
from rl.telemetry.jsonl import write_atomically
from rl.telemetry.record import LAUNCH, check_taken_up, has_finished, is_written, read_recipe

RECORD = "launch.json"


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write down what was launched: the number of the `job`, and the `runs` of an array."""
    (path / LAUNCH).mkdir(parents=True, exist_ok=True)
    record["submitted"] = datetime.now(UTC).isoformat(timespec="seconds")
    write_atomically(path / LAUNCH / RECORD, json.dumps(record, indent=2) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """Return what was written down when a run, or an array of runs, was launched. Raises LaunchError for any other."""
    try:
        record = json.loads((path / LAUNCH / RECORD).read_text(encoding="utf-8"))
        if record["job"] is not None and not re.fullmatch(r"\d+(_\d+)?", record["job"]):
            raise ValueError("job is no number of a job")
        runs = record.get("runs", ["one"])
        if (
            not isinstance(runs, list)
            or not runs
            or not all(isinstance(name, str) and Path(name).name == name for name in runs)
        ):
            raise ValueError("runs should be a list of folders")
    except FileNotFoundError:
        reason = (
            f"was not launched through Slurm (no {LAUNCH}/{RECORD})" if path.is_dir() else "there is no such folder"
        )
        raise LaunchError(f"{path}: {reason}") from None
    except NotADirectoryError:
        raise LaunchError(f"{path}: is no folder of a run") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LaunchError(
            f"{path / LAUNCH / RECORD}: cannot be read: {first_line(error)}; squeue shows the jobs that there are"
        ) from None
    return record


def runs_of(path: Path) -> Sequence[Path]:
    """Return the runs of an array's folder; of a run's, the run itself."""
    if (path / "recipe.json").is_file() or not (path / LAUNCH / RECORD).is_file():
        return [path]
    record = read_record(path)
    if "runs" not in record:
        raise LaunchError(f"{path}: holds no run (no recipe.json)")
    return [path / name for name in record["runs"]]


def runs_to_resume(folder: Path, changes: Sequence[str]) -> dict[Path, Recipe]:
    """Return the runs in folder that have not finished, with their own recipes and changes of cluster.slurm.

    Raises LaunchError where one is being written, or waits in Slurm, and where none is left.
    """
    left = {}
    for path in runs_of(folder):
        recipe = resolve(read_recipe(path), str(path / "recipe.json"), changes)
        check_taken_up(path)
        job = read_record(path)["job"] if (path / LAUNCH / RECORD).is_file() else None
        state = slurm.look_up(job) if job else None
        if state is not None and not state.is_over:
            remedy = "wait for it" if state.state == "COMPLETING" else "rhythm cancel it first, or wait for it"
            raise LaunchError(f"{path}: its job {job} is {state.state.lower()}; {remedy}")
        if is_written(path):
            raise LaunchError(f"{path}: another process is writing this run; wait for it or stop it")
        if not has_finished(path):
            left[path] = recipe
    if not left:
        raise LaunchError(f"{folder}: has finished; there is nothing to go on with")
    return left


def cancel(folder: Path) -> list[str]:
    """Cancel the jobs of a run, or of all runs of an array, and return them: those that are over are left out.

    Raises LaunchError where nothing was submitted.
    """
    places = dict.fromkeys([folder, *(path for path in runs_of(folder) if (path / LAUNCH / RECORD).is_file())])
    jobs = [job for place in places if (job := read_record(place)["job"]) is not None]
    if not jobs:
        raise LaunchError(f"{folder}: was not submitted; there is nothing to cancel")
    alive = [job for job in jobs if (state := slurm.look_up(job)) is not None and not state.is_over]
    whole = [job for job in alive if job.partition("_")[0] not in alive or "_" not in job]  # of an array, it is enough
    for job in whole:
        slurm.cancel(job)
    return whole
