"""The command that makes data: distill."""

from pathlib import Path
from typing import Annotated

import typer

from rl.cli.app import Overlays, Overrides, RecipeName, patient_console


def distill(
    name: RecipeName,
    overrides: Overrides = None,
    overlays: Overlays = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the data; by default data/<recipe>.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")] = False,
) -> None:
    """Make data for fine-tuning from a teacher's traces of RECIPE's prompts, as its distill section says.

    Every trace is verified by the recipe's rewards, given an echo of its question or stripped of it, and verified
    again. Three paired sets come of it: echo.parquet, plain.parquet, and matched.parquet with neutral words as long.
    Beside them are a card (README.md, card.json) with counts, and what was dropped and why (dropped.jsonl).
    """
    from rl.recipe import load

    recipe = load(name, overrides or [], overlays or [])
    folder = out or Path("data") / recipe.name
    console = patient_console()
    with console.status("loading"):
        from rl.distill.distill import distill as make
        from rl.telemetry.logs import quiet_libraries

        quiet_libraries()
    try:
        sets = make(recipe, folder, resume, console)
    except KeyboardInterrupt:
        typer.echo(f"rhythm: stopped; what the teacher said is kept; go on with --resume --out {folder}", err=True)
        raise
    dropped = sum(sets.dropped.values())
    console.print(f"{folder}: {sets.pairs} rows in each of 3 sets; dropped {dropped}:", highlight=False, markup=False)
    for reason, number in sets.dropped.most_common():
        console.print(f"  {number:6}  {reason}", highlight=False, markup=False)
