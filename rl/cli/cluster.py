"""Commands about jobs on a cluster: launch, status, cancel."""

import json
import shlex
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import Overlays, Overrides, fail
from rl.endings import FAULT

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
    from rl.launch.jobs import runs_to_resume
    from rl.launch.launch import check_folders, prepare, read_seeds, runs_for, submit

    changes = overrides or []
    if resume:
        if run_dir is None:
            fail("--resume needs --run-dir, the run or the array to go on with")
        if names or array or overlays:
            fail("--resume takes what is in --run-dir as it is: leave RECIPE, --array and --with out")
        if any(not text.strip().startswith("cluster.slurm.") for text in changes):
            fail("--resume goes on with the run's own recipe; --set can change cluster.slurm alone")
        runs, folder = runs_to_resume(run_dir, changes), run_dir
    else:
        recipes = _recipes(names, changes, overlays or [])
        name = f"{recipes[0].name.replace(' ', '-')}-{datetime.now():%Y%m%d-%H%M%S}"
        folder = run_dir or Path("runs") / name
        runs = runs_for(recipes, read_seeds(array) if array is not None else [], folder)
    job = prepare(runs, folder)
    if not resume:
        check_folders(job)
    if dry_run:
        typer.echo(job.script, nl=False)
        typer.echo(f"# submitted by: {shlex.join(job.command)}")
        return
    number = submit(job, resume, changes)
    typer.echo(f"job {number}: {len(job.runs)} run{'s' if len(job.runs) > 1 else ''} in {folder}")
    typer.echo(f"  rhythm status {shlex.quote(str(folder))}\n  rhythm cancel {shlex.quote(str(folder))}")


def _recipes(names: list[str] | None, overrides: list[str], overlays: list[str]) -> "list[Recipe]":
    from rl.recipe import load

    if not names:
        fail("name a RECIPE (rhythm recipes lists the shipped ones), or submit a run again: --resume --run-dir DIR")
    return [load(name, overrides, overlays) for name in names]


def status(
    run_dir: RunFolder, as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a run.")] = False
) -> None:
    """Say how RUN stands: its job, its stages, its attempts."""
    from rl.launch.jobs import runs_of
    from rl.launch.status import lines_of, look_at

    unread = False
    for index, path in enumerate(runs_of(run_dir)):
        if index and not as_json:
            typer.echo()
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
    from rl.launch.jobs import cancel as cancel_jobs

    jobs = cancel_jobs(run_dir)
    if not jobs:
        typer.echo(f"{run_dir}: its job is over")
        return
    typer.echo(f"cancelled: {', '.join(jobs)}; to go on: rhythm launch --resume --run-dir {shlex.quote(str(run_dir))}")
