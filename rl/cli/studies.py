"""The command that conducts a study: arms times seeds, to one page and one table."""

import re
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import Overlays, Overrides, patient_console
from rl.endings import FAILED, INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from rl.study.plan import Plan, PlannedRun

BREAK = re.compile(r" (?=\[|\(control|- |against)")  # in a cell: before an interval, and what an arm is laid against


def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of a shipped study.")],
    run_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of all its runs; by default studies/<study>.")
    ] = None,
    arms: Annotated[str | None, typer.Option(metavar="ARMS", help="Only these arms, such as uniform,coupled.")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="SEEDS", help="Other seeds, such as 0-2 or 0,1,7.")] = None,
    overrides: Overrides = None,
    overlays: Overlays = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Runs at a time on this machine.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", min=0.0, help="Save and stop after so long; say it again to go on.")
    ] = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="Submit what is left as arrays of jobs, and leave.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and write nothing.")] = False,
) -> None:
    """Train every arm of STUDY with every seed, and compare them: study.html, study.md and study.json.

    Arms differ in what the study says and in nothing else. Said again, it goes on where it was: runs that have finished
    are not made again, and others go on from their checkpoints.
    """
    console = patient_console()
    with console.status("reading"):
        from rl.launch.launch import read_seeds
        from rl.study.plan import Changes, narrowed, plan, read_study, widened

        said, path = read_study(name)
        chosen = [word.strip() for word in arms.split(",") if word.strip()] if arms is not None else None
        part = narrowed(said, chosen, read_seeds(seeds, "--seeds") if seeds is not None else None)
        folder, changes = run_dir or Path("studies") / said.name, Changes(overrides or [], overlays or [])
        found = plan(part, path, folder, changes)
        whole = plan(widened(said, part.seeds), path, folder, changes)
    if dry_run:
        for line in _plan_lines(found):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    if slurm:
        _submit(console, found, whole)
    else:
        _conduct(console, found, whole, jobs, minutes)


def _conduct(console: "Console", found: "Plan", whole: "Plan", jobs: int, minutes: float | None) -> None:
    from rl.study.conduct import LOG, Stopped, check_made, conduct, last_words, make_folder, make_runs, share_of_cores
    from rl.study.progress import StudyProgress
    from rl.telemetry.record import has_finished, locked

    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    failed: list[PlannedRun] = []
    stopped = ""
    make_folder(found.folder)
    with locked(found.folder):
        check_made(whole)
        make_runs(found)
        try:
            with StudyProgress(console, [*found.shared, *found.runs]) as progress:
                conduct(found.shared, jobs, share_of_cores(whole.shared, jobs), deadline, progress)
                failed = [run for run in found.shared if not has_finished(run.path)]
                startable = [run for run in found.runs if run.start not in {lost.path for lost in failed}]
                failed += conduct(startable, jobs, share_of_cores(whole.runs, jobs), deadline, progress)
        except Stopped as stop:
            stopped = str(stop)
            failed += [run for run in stop.failed if run not in failed]
    _show(console, whole)
    for run in failed:
        typer.echo(f"rhythm: {run.path} failed: {last_words(run)} (logs/{LOG} in it has more)", err=True)
    if failed or stopped:
        reason = f"stopped ({stopped})" if stopped else "some runs failed"
        mended = "once that is mended " if failed else ""
        typer.echo(f"rhythm: {reason}; what was done is kept; {mended}go on with", err=True)
        typer.echo(f"  {shlex.join(['rhythm', *sys.argv[1:]])}", err=True)
        raise typer.Exit(FAILED if failed else INTERRUPTED)


def _submit(console: "Console", found: "Plan", whole: "Plan") -> None:
    from rl.study.submit import submit

    for job, count in submit(found, whole).items():
        console.print(f"job {job}: {count} run{'s' if count > 1 else ''}", highlight=False, markup=False)
    _show(console, whole)
    typer.echo("when the jobs are over, the same command without --slurm writes the page and the table")


def _show(console: "Console", found: "Plan") -> None:
    """Write down what there is, and print its table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from rl.study.page import table_of, tests_table
    from rl.study.write import write_outcomes

    outcomes = write_outcomes(found)
    if outcomes is None:
        return
    for heads, rows in (table_of(outcomes, found), tests_table(outcomes.tests, found)):
        if rows:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            for place, head in enumerate(heads):
                table.add_column(BREAK.sub("\n", head), overflow="fold", no_wrap=not place)
            for row in rows:
                table.add_row(*(Text(BREAK.sub("\n", cell)) for cell in row))
            console.print(table)
    console.print(f"study: {found.folder / 'study.html'}", highlight=False, markup=False, soft_wrap=True)


def _plan_lines(found: "Plan") -> Iterator[str]:
    """Yield what would run, and in what the arms differ."""
    from rl.comparison.arms import flat
    from rl.telemetry.record import has_finished

    study = found.study
    yield f"study {study.name}: {len(study.arms)} arms x {len(study.seeds)} seeds of {study.recipe}, in {found.folder}"
    for run in (*found.shared, *found.runs):
        steps = sum(stage.trainer.steps for stage in run.recipe.stages)
        done = (run.path / "recipe.json").is_file() and has_finished(run.path)
        yield f"  {run.path.relative_to(found.folder)}: {steps:,} steps{', done' if done else ''}"
    yield "arms:"
    for name, changes in study.arms.items():
        told = ", ".join(f"{key}={value}" for key, value in flat(changes).items() if key)
        yield f"  {name}{' (control)' if name in study.against else ''}: {told or 'the recipe as it is'}"
