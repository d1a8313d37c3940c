"""The command that lays out a wandb workspace: dashboard."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import Overrides, RecipeName, patient_console

if TYPE_CHECKING:
    from rich.console import Console

    from rl.recipe.sections import Recipe


def dashboard(
    recipe: RecipeName,
    overrides: Overrides = None,
    entity: Annotated[
        str | None, typer.Option(metavar="NAME", help="User or team; by default the recipe's, or the key's own.")
    ] = None,
    project: Annotated[str | None, typer.Option(metavar="NAME", help="By default the recipe's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the panels, and save nothing.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write it as wandb's own JSON, and save nothing."),
    ] = None,
) -> None:
    """Lay out a recipe's runs on wandb: reward, credit, heads, effort, monitor, policy and efficiency, as it has them.

    The workspace is saved to the project as a view of its own, which shows the runs of this recipe; views that are
    there stay as they are.
    """
    from rl.recipe import load

    chosen = load(recipe, overrides or [])
    console = patient_console()
    if dry_run:
        _print(console, chosen)
    with console.status("laying out"):
        from rl.dashboard.workspace import build, save, write

        workspace = build(chosen, entity, project)
        if out is not None:
            write(workspace, out)
        address = None if dry_run or out is not None else save(workspace)
    if out is not None:
        console.print(f"workspace: {out}", highlight=False, markup=False, soft_wrap=True)
    if address is not None:
        console.print(f"dashboard: {address}", highlight=False, markup=False, soft_wrap=True)


def _print(console: "Console", recipe: "Recipe") -> None:
    from rich import box
    from rich.table import Table

    from rl.dashboard.panels import sections

    table = Table("section", "panel", "shows", box=box.SIMPLE_HEAD)
    for name, panels in sections(recipe).items():
        for place, panel in enumerate(panels):
            keys = ", ".join(panel.keys) if len(panel.keys) < 4 else f"{panel.keys[0]} and {len(panel.keys) - 1} more"
            table.add_row(name if place == 0 else "", panel.title, keys, end_section=place == len(panels) - 1)
    console.print(table)
