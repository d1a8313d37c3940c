"""Commands about jobs on a cluster: launch, status, cancel."""

import json
import shlex
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import FAULT, Overlays, Overrides, fail

if TYPE_CHECKING:
    from rl.recipe import Recipe

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or the folder of an array of runs.")]


def launch(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="RECIPE...", help="Recipes, each as a run of its own; none with --resume."),
    ] = None,
    array: Annotated[
        str | None, typer.Option("--array", metavar="SEEDS", help="One run for each seed, such as 0-2 or 0,1,7.")
    ] = None,
    overrides: Overrides = None,
    overlays: Overlays = None,
    run_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run, or of the array; by default in runs/.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Submit the run in --run-dir, or what is left of an array, again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the script; write and submit nothing.")] = False,
) -> None:
    """Submit RECIPE to Slurm: as one job, or with several recipes or --array as an array of jobs.

    What it asks for is cluster.slurm, with your own defaults (account, partition) from ~/.config/rhythm/slurm.yaml. The
    recipe is taken as it is now; what is changed in its file later changes no job.
    """
    from rl.launch.launch import prepare, read_seeds, runs_for, submit

    if resume:
        runs, folder = _runs_of(names, array, overlays, overrides or [], run_dir)
    else:
        recipes = _recipes(names, overrides or [], overlays or [])
        name = f"{recipes[0].name.replace(' ', '-')}-{datetime.now():%Y%m%d-%H%M%S}"
        folder = run_dir or Path("runs") / name
        runs = runs_for(recipes, read_seeds(array) if array is not None else [], folder)
    job = prepare(runs, folder)
    if dry_run:
        typer.echo(job.script, nl=False)
        typer.echo(f"# submitted by: {shlex.join(job.command)}")
        return
    number = submit(job, resume)
    typer.echo(f"job {number}: {len(job.runs)} run{'s' if len(job.runs) > 1 else ''} in {folder}")
    typer.echo(f"  rhythm status {shlex.quote(str(folder))}\n  rhythm cancel {shlex.quote(str(folder))}")


def _recipes(names: list[str] | None, overrides: list[str], overlays: list[str]) -> "list[Recipe]":
    from rl.recipe import load

    if not names:
        fail("name a RECIPE (rhythm recipes lists the shipped ones), or submit a run again: --resume --run-dir DIR")
    return [load(name, overrides, overlays) for name in names]


def _runs_of(
    names: list[str] | None, array: str | None, overlays: list[str] | None, overrides: list[str], run_dir: Path | None
) -> "tuple[dict[Path, Recipe], Path]":
    """Return the runs that are submitted again, which may ask Slurm for something else, and their folder."""
    from rl.launch.launch import RECORD, read_record
    from rl.launch.slurm import look_up
    from rl.launch.status import runs_of
    from rl.recipe import resolve
    from rl.telemetry.attempts import has_finished
    from rl.telemetry.record import LAUNCH, is_written, read_recipe

    if run_dir is None or names or array or overlays:
        fail("--resume takes what is in --run-dir as it is: leave RECIPE, --array and --with out")
    if any(not text.strip().startswith("cluster.slurm.") for text in overrides):
        fail("--resume goes on with the run's own recipe; --set can change cluster.slurm alone")
    runs = {}
    for path in runs_of(run_dir):
        runs[path] = resolve(read_recipe(path), str(path / "recipe.json"), overrides)
        job = read_record(path)["job"] if (path / LAUNCH / RECORD).is_file() else None
        state = look_up(job) if job else None
        if state is not None and not state.is_over:
            fail(f"{path}: its job {job} is {state.state.lower()}; rhythm cancel it first, or wait for it")
        if is_written(path):
            fail(f"{path}: another process is writing this run; wait for it or stop it")
    left = {path: recipe for path, recipe in runs.items() if not has_finished(path / "environment.json")}
    if not left:
        fail(f"{run_dir}: has finished; there is nothing to go on with")
    return left, run_dir


def status(
    run_dir: RunFolder, as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a run.")] = False
) -> None:
    """Say how RUN stands: its job, its stages, its attempts."""
    from rl.launch.status import lines_of, look_at, runs_of

    unread = False
    for path in runs_of(run_dir):
        try:
            state = look_at(path)
        except ValueError as error:  # of one run of an array; the others stand as they do
            typer.echo(f"rhythm: {error}", err=True)
            unread = True
            continue
        typer.echo(json.dumps(asdict(state), default=str) if as_json else "\n".join(lines_of(state)))
    if unread:
        raise typer.Exit(FAULT)


def cancel(run_dir: RunFolder) -> None:
    """Cancel the job of RUN: it saves a checkpoint first, if its step ends within Slurm's KillWait."""
    from rl.launch import slurm
    from rl.launch.launch import read_record

    job = read_record(run_dir)["job"]
    if job is None:
        fail(f"{run_dir}: was not submitted; there is nothing to cancel")
    state = slurm.look_up(job)
    if state is None or state.is_over:
        typer.echo(f"job {job} is over")
        return
    slurm.cancel(job)
    typer.echo(f"job {job} is cancelled; to go on: rhythm launch --resume --run-dir {shlex.quote(str(run_dir))}")
