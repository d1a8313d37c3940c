"""Commands about recipes and suites: check, recipes, keys, suites."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import Overlays, Overrides, RecipeName, fail, patient_console

if TYPE_CHECKING:
    from rl.recipe import Recipe


def check(
    name: RecipeName,
    overrides: Overrides = None,
    overlays: Overlays = None,
    deepspeed: Annotated[
        bool, typer.Option("--deepspeed", help="Print what DeepSpeed is told in each stage instead, as JSON.")
    ] = False,
) -> None:
    """Print the resolved RECIPE, or all its faults at once."""
    from ruamel.yaml import YAML

    from rl.recipe import dump, load

    if deepspeed:
        _print_deepspeed(load(name, overrides or [], overlays or []))
        return
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.sort_base_mapping_type_on_output = False, False  # pyright: ignore
    writer.dump(dump(load(name, overrides or [], overlays or [])), sys.stdout)


def _print_deepspeed(recipe: "Recipe") -> None:
    from rl.recipe.checks import world_faults

    if recipe.cluster.zero == 0:
        fail("cluster.zero is 0, which is DDP without DeepSpeed; choose a stage: --set cluster.zero=2")
    world = recipe.cluster.world or recipe.cluster.nodes
    for path, reason in world_faults(recipe, world):
        fail(".".join(map(str, path)) + f": {reason}")
    with patient_console().status("loading"):
        from rl.settings import deepspeed_settings
    settings = {stage.name: deepspeed_settings(recipe, stage, world) for stage in recipe.stages}
    typer.echo(json.dumps(settings, indent=2))


def recipes() -> None:
    """List the shipped recipes."""
    from rl.recipe import load, shipped, shipped_names

    for name in shipped_names():
        stages = ", ".join(stage.trainer.kind for stage in load(name).stages)
        typer.echo(f"{name:30} {stages:12} {shipped('recipes') / name}.yaml")


def keys() -> None:
    """Explain every key of a recipe, as Markdown."""
    from rl.recipe.reference import reference

    typer.echo(reference(), nl=False)


def suites() -> None:
    """List the suites that `rhythm eval` knows by name."""
    from rl.recipe.suites import SUITES

    for name, (words, _) in SUITES.items():
        typer.echo(f"{name:22} {words}")
