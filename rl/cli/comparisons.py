"""The command that lays runs over each other: compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import patient_console

if TYPE_CHECKING:
    from rich.console import Console

    from rl.comparison.compare import Comparison


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, such as runs/*.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the page goes.")] = Path("comparison"),
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
) -> None:
    """Overlay runs: those of one recipe are an arm, its seeds a band, with bootstrap intervals over runs.

    Reward, accuracy, length and turnover of heads by step, and a table of what each arm comes to. Runs that are still
    going count as far as they are. Writes comparison.html and comparison.md.
    """
    console = patient_console()
    with console.status("reading"):
        from rl.comparison.compare import compare

        found = compare(runs, out)
    if markdown:
        typer.echo(found.markdown, nl=False)
    else:
        _print(console, found)
        console.print(f"comparison: {out / 'comparison.html'}", highlight=False, markup=False, soft_wrap=True)


def _print(console: "Console", found: "Comparison") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from rl.comparison import page
    from rl.comparison.summary import figures_of

    for stage in found.stages:
        table = Table("arm", "", "", title=Text(stage), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        heads, rows = page.table_of(figures_of(found.arms, stage))
        for name, *cells in rows:
            for place, (head, cell) in enumerate(zip(heads[1:], cells, strict=True)):
                table.add_row(Text(name if place == 0 else ""), head, cell)
        console.print(table)
