"""What `rhythm heads` does with --ablate or --scale: evaluate the final policy with heads that write otherwise."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rl.cli.app import fail

if TYPE_CHECKING:
    from rich.console import Console

    from rl.circuits.interventions import Arm
    from rl.recipe.sections import Recipe

CIRCUIT = "circuit"
LARGEST = 100.0  # beyond which nothing is learned of a head, and numbers overflow


@dataclass(frozen=True)
class Wanted:
    """Hold which heads are scaled, by what, with how many controls; and how the policy is evaluated."""

    heads: str
    factor: float
    controls: int
    samples: int
    max_tokens: int | None
    temperature: float
    limit: int | None
    batch: int
    seed: int


def read_wanted(ablate: str | None, scale: float | None, heads: str | None) -> tuple[str, float] | None:
    """Return which heads and which factor options ask for; leave where they say nothing that could be done."""
    if ablate is not None:
        if scale is not None or heads is not None:
            fail("--ablate is --scale 0 of the heads it names; give it alone, or --scale with --heads")
        return ablate, 0.0
    if (scale is None) != (heads is None):
        fail("--scale and --heads go together: --scale 1.3 --heads 3.1,4.0")
    if scale is None or heads is None:
        return None
    if not abs(scale) <= LARGEST:  # nan is no better
        fail(f"--scale {scale} is no factor of at most {LARGEST:g}; 1.3 lets heads write more, 0.5 less")
    return heads, scale


def run_intervention(run: Path, recipe: "Recipe", wanted: Wanted, folder: Path, console: "Console") -> None:
    """Evaluate, print the table, and say where everything is."""
    with console.status("loading"):
        from rl.circuits.interventions import intervene, name_of, parse_heads
        from rl.circuits.study import read_heads
        from rl.evaluation.decoding import Decoding
        from rl.policy import Policy
        from rl.recipe.trainer_sections import Online
        from rl.telemetry.progress import ProgressDisplay

        last = recipe.stages[-1]
        circuit = wanted.heads == CIRCUIT
        heads = read_heads(folder) if circuit else parse_heads(wanted.heads)
        if not heads:
            fail("the circuit has no heads; name some")
        if wanted.limit is not None:
            data = (last.data or recipe.data).model_copy(update={"limit": wanted.limit})
            recipe = recipe.model_copy(update={"stages": [*recipe.stages[:-1], last.model_copy(update={"data": data})]})
        policy = Policy.load(str(run), fallback=(last.data or recipe.data).system)
    longest = last.trainer.max_completion_length if isinstance(last.trainer, Online) else 1024
    decoding = Decoding(wanted.samples, wanted.max_tokens or longest, wanted.temperature, wanted.batch, wanted.seed)
    place = folder / "interventions" / name_of(heads, wanted.factor, circuit)
    progress = ProgressDisplay(console)
    options = (wanted.factor, wanted.controls, decoding, place, progress.begin, progress.advance)
    try:
        arms = intervene(policy, recipe, heads, *options)
    except KeyboardInterrupt:
        progress.end()
        typer.echo(f"rhythm: stopped; what was answered is kept in {place}; the same command goes on", err=True)
        raise
    finally:
        progress.end()
    _print(console, arms, wanted.factor)
    console.print(f"intervention: {place}", highlight=False, markup=False, soft_wrap=True)


def _print(console: "Console", arms: "list[Arm]", factor: float) -> None:
    from rich import box
    from rich.table import Table

    said = f"heads scaled by {factor:g}; means over {arms[0].results.tasks} tasks with 95 % intervals over these"
    console.print(said, highlight=False)
    for arm in arms[1:]:
        console.print(f"  {arm.name}: heads {' '.join(arm.heads)}", highlight=False)
    table = Table("arm", "", "mean", "less unchanged", box=box.SIMPLE_HEAD)
    for arm in arms:
        rows = (("right", arm.results.accuracy, arm.accuracy), ("tokens", arm.results.tokens, arm.tokens))
        for place, (what, *cells) in enumerate(rows):
            table.add_row(arm.name if place == 0 else "", what, *("-" if one is None else str(one) for one in cells))
    console.print(table)
