"""The command `rhythm`: parses, imports what a command needs when it runs, prints errors without a traceback."""

import os
import sys

import typer

from rewards.base import RewardError
from rl.cli import (
    analyses,
    cluster,
    comparisons,
    dashboards,
    data,
    evaluations,
    heads,
    manual,
    policies,
    recipes,
    sizes,
    studies,
    training,
)
from rl.cli.app import app
from rl.endings import FAULT, INTERRUPTED

__all__ = ["main"]
COMMANDS = (
    training.train,
    data.distill,
    data.probe,
    recipes.check,
    recipes.recipes,
    recipes.keys,
    manual.commands,
    recipes.suites,
    sizes.plan,
    policies.generate,
    policies.report,
    comparisons.compare,
    studies.study,
    heads.heads,
    cluster.launch,
    cluster.status,
    cluster.cancel,
    dashboards.dashboard,
)
for command in COMMANDS:
    app.command()(command)
app.command("eval")(evaluations.evaluate)
app.add_typer(analyses.analyze)


def main() -> None:
    """Run the command; a fault of the user's is a message and exit code 2."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        sys.exit(INTERRUPTED)
    except (ValueError, OSError, RewardError) as error:
        if not _is_users(error):
            raise
        if os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0":  # once a machine
            typer.echo("\n".join(f"rhythm: {line}" for line in str(error).splitlines()), err=True)
        sys.exit(FAULT)


def _is_users(error: BaseException) -> bool:
    """Say whether an error is one of ours for users: RecipeError, RunError, DataError, ModelError and the like."""
    return type(error).__module__.split(".")[0] in ("rl", "rewards")
