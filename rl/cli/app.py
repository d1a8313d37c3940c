"""What all commands share: the application, exit codes, options, and how to fail."""

import os
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from rl.endings import FAULT

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="rhythm",
    help="Reinforcement-learning fine-tuning of language models, with credit read from the model's own attention.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the recipe, such as stages.grpo.trainer.steps=50."
    ),
]
Overlays = Annotated[
    list[str] | None,
    typer.Option(
        "--with", metavar="FILE", help="Lay the keys of a file over the recipe, such as a smaller model for a try."
    ),
]


@app.callback(invoke_without_command=True)
def rhythm(version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False) -> None:
    """Take the options that belong to no command."""
    if version:
        from rl import __version__

        typer.echo(__version__)
        raise typer.Exit


def fail(message: str) -> NoReturn:
    """Say what the user got wrong and leave."""
    typer.echo(f"rhythm: {message}", err=True)
    raise typer.Exit(FAULT)


def patient_console() -> "Console":
    """Return a console that falls silent when nobody reads it any more: a lost pager must not cost a run."""
    from rich.console import Console

    class PatientConsole(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return PatientConsole()
