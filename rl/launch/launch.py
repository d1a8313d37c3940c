"""Make the runs of one or several recipes, each with one or several seeds, and submit them as one job."""

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rl.launch import slurm
from rl.launch.defaults import defaults_file, with_defaults
from rl.launch.jobs import read_record, write_record
from rl.launch.script import processes_per_node, render
from rl.launch.slurm import LaunchError
from rl.recipe import dump
from rl.recipe.checks import world_faults
from rl.recipe.faults import Fault, RecipeError
from rl.recipe.sections import Recipe
from rl.telemetry.jsonl import write_atomically
from rl.telemetry.record import LAUNCH, STOPPED, RunDirectory, RunError, check_new

SCRIPT = "train.sbatch"


@dataclass(frozen=True)
class Launch:
    """Hold a job that is ready to be submitted: its folder, its runs, and its script."""

    folder: Path
    runs: dict[Path, Recipe]
    script: str
    options: list[str]

    @property
    def is_array(self) -> bool:
        """Say whether the folder holds runs, and is none itself."""
        return list(self.runs) != [self.folder]

    @property
    def command(self) -> list[str]:
        """Return what submits the job."""
        return ["sbatch", *self.options, str((self.folder / LAUNCH / SCRIPT).absolute())]


def runs_for(recipes: Sequence[Recipe], seeds: Sequence[int], folder: Path) -> dict[Path, Recipe]:
    """Return a run of every recipe with every seed (none: its own): in folder, or each in a folder of its own in it.

    Raises LaunchError where two would have the same name.
    """
    runs = [recipe.model_copy(update={"seed": seed}) for recipe in recipes for seed in (seeds or [recipe.seed])]
    if len(runs) == 1:
        return {folder: runs[0]}
    return {folder / name: run for name, run in zip(_names(runs), runs, strict=True)}


def prepare(runs: Mapping[Path, Recipe], folder: Path) -> Launch:
    """Return a job of all runs, which are in folder, or are folder itself.

    Raises LaunchError where they ask for different machines, and RecipeError where a step cannot be shared out.
    """
    all_runs = list(runs.values())
    first = all_runs[0]
    clusters = {json.dumps(dump(one)["cluster"], sort_keys=True): one.name for one in all_runs}
    if len(clusters) > 1:
        names = " and ".join(list(clusters.values())[:2])
        raise LaunchError(f"{names} ask for different machines (cluster); launch them one by one")
    section = with_defaults(first.cluster.slurm)
    if section.gpu_type is not None and first.cluster.processes is None and section.gpus is None:
        raise LaunchError(
            f"{defaults_file()}: gpu_type: of how many GPUs? write gpus there, or cluster.slurm.gpus or "
            "cluster.processes in the recipe"
        )
    world = first.cluster.nodes * processes_per_node(first, section)
    faults = [
        Fault(one.name, ".".join(map(str, path)), reason)
        for one in all_runs
        for path, reason in world_faults(one, world)
    ]
    if faults:
        raise RecipeError(faults)
    script = render(first, section, folder.resolve().name, list(runs))
    output = "slurm-%A-%a.log" if len(runs) > 1 else "slurm-%j.log"
    options = [f"--output={str(folder.absolute() / LAUNCH).replace('%', '%%')}/{output}"]
    return Launch(folder, dict(runs), script, options)


def _names(recipes: Sequence[Recipe]) -> list[str]:
    names = [f"{recipe.name}-seed{recipe.seed}" for recipe in recipes]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise LaunchError(f"{min(repeated)} would be two runs; give recipes names of their own")
    return names


def submit(launch: Launch, resume: bool = False, changes: Sequence[str] = ()) -> str:
    """Make the runs, unless they are there, write the script beside them, submit it, and return the job's number.

    Raises LaunchError, after which runs that were made stand ready to be launched again, with the same `changes`.
    """
    if not resume:
        _make(launch)
    script = launch.folder / LAUNCH / SCRIPT
    try:
        for path in launch.runs:
            (path / "logs").mkdir(exist_ok=True)
            (path / LAUNCH / STOPPED).unlink(missing_ok=True)
        script.parent.mkdir(exist_ok=True)
        write_atomically(script, launch.script)
    except OSError as error:
        raise _unwritable(launch.folder, error) from None
    try:
        job = slurm.submit(script.absolute(), launch.options)
    except LaunchError as error:
        words = ["rhythm", "launch", "--resume", "--run-dir", str(launch.folder)]
        again = shlex.join([*words, *(word for change in changes for word in ("--set", change))])
        said = str(error).removeprefix("sbatch ")
        raise LaunchError(
            f"sbatch {said}\nmend that, where need be with --set cluster.slurm.KEY=VALUE, and go on with\n  {again}"
        ) from None
    try:
        _write_records(launch, job, script)
    except OSError as error:
        said = f"job {job} was submitted, but that cannot be written down: {error.strerror}"
        raise LaunchError(f"{launch.folder}: {said}; scancel {job} takes it back") from None
    return job


def _write_records(launch: Launch, job: str, script: Path) -> None:
    for index, path in enumerate(launch.runs):
        record = {"job": job if len(launch.runs) == 1 else f"{job}_{index}", "script": str(script)}
        write_record(path, record)
    if launch.is_array:
        write_record(launch.folder, {**read_record(launch.folder), "job": job})


def check_folders(launch: Launch) -> None:
    """Raise RunError where a folder of a new job is taken."""
    for path in dict.fromkeys([launch.folder, *launch.runs]):
        check_new(path)


def _make(launch: Launch) -> None:
    """Make the runs: all of them, or none. Raises RunError and LaunchError."""
    check_folders(launch)
    made = []
    try:
        for path, recipe in launch.runs.items():
            if not path.is_dir():
                path.mkdir(parents=True)  # not if another launch has just made it
                made.append(path)
            RunDirectory.prepare(path, dump(recipe))
        if launch.is_array:
            made.append(launch.folder / LAUNCH)
            write_record(launch.folder, {"job": None, "runs": [path.name for path in launch.runs]})
    except (OSError, RunError) as error:
        for path in made:
            shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise _unwritable(launch.folder, error) from None
        raise


def _unwritable(folder: Path, error: OSError) -> LaunchError:
    return LaunchError(f"{folder}: cannot write a run there: {error.strerror}; give --run-dir another folder")


def read_seeds(text: str, option: str = "--array") -> list[int]:
    """Return the seeds that a text such as 0-2,7, given as an option, names. Raises LaunchError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise LaunchError(f"{option} {text!r}: should name seeds such as 0-2 or 0,1,7")
        if max(len(first), len(last)) > len(str(MOST_SEED)) or int(last or first) > MOST_SEED:
            raise LaunchError(f"{option} {text!r}: seeds are below {MOST_SEED + 1}")
        if int(last or first) < int(first):
            raise LaunchError(f"{option} {text!r}: {part.strip()} names none; write the lower seed first")
        seeds += range(int(first), min(int(last or first), int(first) + MOST_SEEDS) + 1)
    if len(seeds) > MOST_SEEDS:
        raise LaunchError(f"{option} {text!r}: should name at most {MOST_SEEDS} seeds")
    if len(set(seeds)) < len(seeds):
        raise LaunchError(f"{option} {text!r}: names a seed twice")
    return seeds


MOST_SEEDS, MOST_SEED = 1000, 2**32 - 1
