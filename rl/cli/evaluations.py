"""The command that measures how good a policy is: eval."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import Overrides, fail, patient_console
from rl.cli.asking import (
    Effort,
    First,
    MaxTokens,
    Reminder,
    Seed,
    System,
    Temperature,
    Tokens,
    check,
    warn_of_dial,
)

if TYPE_CHECKING:
    from rich.console import Console

    from rl.evaluation.results import Results


def evaluate(
    model: Annotated[str, typer.Argument(help="A run directory, a policy's folder, or a hub name.")],
    suite: Annotated[
        str, typer.Option(metavar="RECIPE", help="The recipe whose data are the tasks, and whose rewards judge.")
    ],
    overrides: Overrides = None,
    samples: Annotated[int, typer.Option(metavar="K", min=1, help="Answers to each task.")] = 1,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Take only the first N tasks.")] = None,
    max_tokens: MaxTokens = 1024,
    temperature: Temperature = 0.0,
    again: Reminder = None,
    first: First = None,
    effort: Effort = None,
    tokens: Tokens = None,
    system: System = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Answers that are written at a time.")] = 16,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="By default evaluations/<suite>-<name of MODEL>.")
    ] = None,
) -> None:
    """Let a policy answer a suite of tasks, and say how many it gets right, with 95 % intervals.

    Every answer is kept in generations.jsonl, the figures in results.json. One that was broken off goes on where it
    stopped when it is given again.
    """
    if samples > 1 and temperature == 0:
        fail("--samples: at temperature 0 all are the same; give --temperature too")
    from rl.recipe import load

    recipe = load(suite, [*(overrides or []), *([f"data.limit={limit}"] if limit else [])])
    folder = out or Path("evaluations") / f"{recipe.name}-{Path(model).name}"
    console = patient_console()
    with console.status("loading"):
        from rl.evaluation.evaluate import Decoding, evaluate
        from rl.evaluation.suite import build_suite, settings_of
        from rl.policy import Policy
        from rl.telemetry.logs import quiet_libraries
        from rl.telemetry.progress import ProgressDisplay

        quiet_libraries()
        halfway = check(effort, tokens, temperature, again, first, max_tokens)
        tasks = build_suite(recipe)
        policy = Policy.load(model, system=system, fallback=recipe.data.system, effort=effort, tokens=tokens)
    warn_of_dial(policy)
    decoding = Decoding(samples, max_tokens, temperature, halfway, batch, seed)
    progress = ProgressDisplay(console)
    try:
        settings = settings_of(policy, recipe, decoding)
        results = evaluate(policy, tasks, decoding, folder, settings, progress.begin, progress.advance)
    except KeyboardInterrupt:
        progress.end()
        typer.echo(f"rhythm: stopped; what was answered is kept in {folder}; the same command goes on", err=True)
        raise
    finally:
        progress.end()
    _print(console, results)
    console.print(f"evaluation: {folder}", highlight=False, markup=False, soft_wrap=True)


def _print(console: "Console", results: "Results") -> None:
    unjudged = f", {results.unjudged} of them unjudged" if results.unjudged else ""
    counts = f"{results.answers} answer{'s'[: results.answers > 1]} to {results.tasks} task{'s'[: results.tasks > 1]}"
    console.print(f"{counts}{unjudged}", highlight=False)
    shown = {
        "right": results.accuracy,
        "tokens": results.tokens,
        "reasoning tokens": results.reasoning_tokens,
        "cut off": results.cut,
        **{f"reward {name}": value for name, value in results.parts.items()},
    }
    for name, value in shown.items():
        console.print(f"  {name:<18} {value if value is not None else '-'}", highlight=False, markup=False)
