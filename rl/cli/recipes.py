"""Commands about recipes: check, recipes, keys."""

import sys

import typer

from rl.cli.app import Overlays, Overrides, RecipeName


def check(name: RecipeName, overrides: Overrides = None, overlays: Overlays = None) -> None:
    """Print the resolved RECIPE, or all its faults at once."""
    from ruamel.yaml import YAML

    from rl.recipe import dump, load

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.sort_base_mapping_type_on_output = False, False  # pyright: ignore
    writer.dump(dump(load(name, overrides or [], overlays or [])), sys.stdout)


def recipes() -> None:
    """List the shipped recipes."""
    from rl.recipe import load, shipped, shipped_names

    for name in shipped_names():
        stages = ", ".join(stage.trainer.kind for stage in load(name).stages)
        typer.echo(f"{name:24} {stages:12} {shipped('recipes') / name}.yaml")


def keys() -> None:
    """Explain every key of a recipe, as Markdown."""
    from rl.recipe.reference import reference

    typer.echo(reference(), nl=False)
