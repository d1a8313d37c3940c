"""The command that looks for the heads that a run switched on, and into what becomes of it without them: heads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import fail, patient_console
from rl.cli.asking import Seed, Temperature
from rl.cli.interventions import CIRCUIT, Wanted, read_wanted, run_intervention

if TYPE_CHECKING:
    from rich.console import Console

    from rl.circuits.snapshots import Kept
    from rl.circuits.study import Options, Study
    from rl.recipe.sections import Recipe

FEW = 3  # checkpoints, below which nothing can be said of how heads come and go

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Stage = Annotated[str | None, typer.Option(metavar="NAME", help="Look at the checkpoints of one stage only.")]
Steps = Annotated[int, typer.Option(metavar="M", min=1, help="Integration steps of EAP-IG.")]
Pairs = Annotated[int, typer.Option(metavar="N", min=1, help="Tasks whose answers' openings are compared.")]
Opening = Annotated[int, typer.Option(metavar="N", min=1, help="Tokens of an opening.")]
Top = Annotated[int, typer.Option(metavar="N", min=1, help="Keep so many of the strongest edges.")]
Threshold = Annotated[float, typer.Option(metavar="T", min=0, max=1, help="And of those what is so large a share.")]
MicroBatch = Annotated[int, typer.Option(metavar="N", min=1, help="Pairs in one forward pass.")]
Ablate = Annotated[
    str | None,
    typer.Option(metavar="L.H,...", help=f"Evaluate the final policy without these heads, or its `{CIRCUIT}`'s."),
]
Scale = Annotated[float | None, typer.Option(metavar="F", help="Evaluate it with what --heads write times F.")]
Named = Annotated[str | None, typer.Option("--heads", metavar="L.H,...", help=f"Of --scale: heads, or `{CIRCUIT}`.")]
Controls = Annotated[int, typer.Option(metavar="N", min=0, help="Draws of as many other heads, to compare with.")]
Samples = Annotated[int, typer.Option(metavar="K", min=1, help="Answers to each task.")]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="Take only the first N tasks.")]
MaxTokens = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Longest answer, in tokens; by default as in training.")
]
Batch = Annotated[int, typer.Option(metavar="N", min=1, help="Answers that are written at a time.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="By default RUN/heads.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")]


OF_CIRCUITS = ("steps", "pairs", "opening", "top", "threshold", "micro_batch", "stage", "dry_run")
OF_INTERVENTIONS = ("controls", "samples", "limit", "max_tokens", "temperature", "batch", "seed")


def heads(
    context: typer.Context,
    run: Run,
    steps: Steps = 10,
    pairs: Pairs = 16,
    opening: Opening = 8,
    top: Top = 5000,
    threshold: Threshold = 0.1,
    micro_batch: MicroBatch = 1,
    stage: Stage = None,
    out: Out = None,
    dry_run: DryRun = False,
    ablate: Ablate = None,
    scale: Scale = None,
    named: Named = None,
    controls: Controls = 3,
    samples: Samples = 1,
    limit: Limit = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = 0.0,
    batch: Batch = 16,
    seed: Seed = 0,
) -> None:
    """Find the circuit of every checkpoint that RUN kept, and which heads training switched on (arXiv 2509.25758).

    Edges are scored by EAP-IG: the run's base model and its final policy begin answers to the same tasks, and what
    sets the two openings apart is followed through each checkpoint, from embeddings to logits. Writes heads.json,
    heads.html, the openings and every checkpoint's scores. One that was broken off goes on when it is given again.

    With --ablate or --scale the final policy is evaluated instead: unchanged, with these heads scaled, and with as many
    other heads scaled as controls.
    """
    wanted = read_wanted(ablate, scale, named)
    _check_options(context, OF_INTERVENTIONS if wanted is None else OF_CIRCUITS, wanted is None)
    if samples > 1 and temperature == 0:
        fail("--samples: at temperature 0 all are the same; give --temperature too")
    console = patient_console()
    with console.status("loading"):
        from rl.circuits.snapshots import find_snapshots
        from rl.circuits.study import Options
        from rl.recipe import resolve
        from rl.telemetry.logs import quiet_libraries
        from rl.telemetry.record import read_recipe

        quiet_libraries()
        recipe = resolve(read_recipe(run), str(run / "recipe.json"))
    folder = out or run / "heads"
    if wanted is not None:
        how = Wanted(*wanted, controls, samples, max_tokens, temperature, limit, batch, seed)
        run_intervention(run, recipe, how, folder, console)
        return
    kept = find_snapshots(run, recipe, stage)
    for fault in kept.faults:
        typer.echo(f"rhythm: {fault}", err=True)
    options = Options(pairs, opening, steps, micro_batch, top, threshold)
    if dry_run:
        _say_plan(console, kept, options, folder)
        return
    found = _study(run, recipe, kept, options, folder, console)
    _print(console, found)
    if len(kept.snapshots) <= FEW:
        console.print(
            f"{len(kept.snapshots) - 1} checkpoint{'s'[: len(kept.snapshots) != 2]} of RUN are few to see heads come "
            "and go: train with a larger checkpoints.keep, or a smaller checkpoints.every",
            highlight=False,
        )
    page = _write_page(run, recipe, found, options, folder)
    console.print(f"heads: {page}", highlight=False, markup=False, soft_wrap=True)


def _check_options(context: typer.Context, others: tuple[str, ...], circuits: bool) -> None:
    """Leave where options were given that what is asked for would not heed."""
    given = [name for name in others if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        what = "interventions; give --ablate or --scale too" if circuits else "circuits; leave --ablate and --scale out"
        fail(f"{named}: of {what}")


def _say_plan(console: "Console", kept: "Kept", options: "Options", folder: Path) -> None:
    from rl.circuits.study import done_before

    done = {one.name for one in done_before(kept, folder)}
    said = [
        f"{options.pairs} pairs of openings of {options.opening} tokens, {options.steps} steps of EAP-IG; into {folder}"
    ]
    for one in kept.snapshots:
        reward = "" if one.reward is None else f"  reward {one.reward:.3f}"
        there = "  attributed already" if one.name in done else ""
        said.append(f"  {one.name:<16} {one.path}{reward}{there}")
    for text in said:
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _study(run: Path, recipe: "Recipe", kept: "Kept", options: "Options", folder: Path, console: "Console") -> "Study":
    from rl.circuits.study import study
    from rl.telemetry.progress import ProgressDisplay

    progress = ProgressDisplay(console)
    try:
        return study(run, recipe, kept, options, folder, progress.begin, progress.advance)
    except KeyboardInterrupt:
        progress.end()
        typer.echo(f"rhythm: stopped; what was attributed is kept in {folder}; the same command goes on", err=True)
        raise
    finally:
        progress.end()


def _print(console: "Console", found: "Study") -> None:
    from rich import box
    from rich.table import Table

    from rl.circuits import page

    alike = found.tasks - found.pairs
    said = f"{found.pairs} pairs of openings" + (f"; {alike} more begin alike and say nothing" if alike else "")
    console.print(said, highlight=False)
    table = Table(*page.HEADS, box=box.SIMPLE_HEAD)
    for row in page.rows_of(found):
        table.add_row(*row)
    console.print(table)
    console.print(page.say_spearman(found), highlight=False)


def _write_page(run: Path, recipe: "Recipe", found: "Study", options: "Options", folder: Path) -> Path:
    from rl.circuits.page import render
    from rl.telemetry.jsonl import write_atomically

    facts = [
        ("recipe", recipe.name),
        ("model", recipe.model.name),
        ("checkpoints", str(len(found.circuits) - 1)),
        ("pairs", f"{found.pairs} of {found.tasks} tasks, openings of {options.opening} tokens"),
        ("EAP-IG", f"{options.steps} steps"),
        ("kept edges", f"{options.top:,} strongest, from {options.threshold:g} of the largest on"),
    ]
    path = folder / "heads.html"
    try:
        write_atomically(path, render(run.resolve().name, facts, found))
    except OSError as error:
        fail(f"{path}: cannot be written: {error.strerror}")
    return path
