"""The command that measures how good a policy is: eval."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rl.cli.app import Overrides, fail, patient_console

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
    max_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Longest answer, in tokens.")] = 1024,
    temperature: Annotated[float, typer.Option(metavar="T", min=0, help="0 takes the likeliest token.")] = 0.0,
    again: Annotated[
        Literal["question", "neutral"] | None,
        typer.Option(help="Remind it half-way of the question, or as a control with neutral words as long."),
    ] = None,
    first: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="With --again: most tokens before it; by default half.")
    ] = None,
    effort: Annotated[
        float | None, typer.Option(metavar="R", help="Effort relative to the usual, such as 0.5.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(metavar="N", help="In place of effort: a number of tokens.")] = None,
    system: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="System prompt; by default the one it was trained with, or the suite's."),
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Answers that are written at a time.")] = 16,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Seed of the sampling.")] = 0,
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
    if first is not None and (again is None or first >= max_tokens):
        fail("--first says where --again comes in, within --max-tokens")
    if effort is not None and tokens is not None:
        fail("--effort and --tokens are two ways to ask for a length; give one of them")
    from rl.recipe import load

    changes = [*(overrides or []), *([f"data.limit={limit}"] if limit else [])]
    recipe = load(suite, changes)
    folder = out or Path("evaluations") / f"{recipe.name}-{Path(model).name}"
    console = patient_console()
    with console.status("loading"):
        from rl.evaluation.evaluate import Decoding, evaluate
        from rl.evaluation.suite import build_suite, settings_of
        from rl.generate import Again
        from rl.policy import Policy
        from rl.telemetry.logs import quiet_libraries
        from rl.telemetry.progress import ProgressDisplay

        quiet_libraries()
        policy = Policy.load(model, system=system, effort=effort, tokens=tokens)
        policy.system = policy.system or recipe.data.system
        tasks = build_suite(recipe)
    decoding = Decoding(samples, max_tokens, temperature, Again(again, first) if again else None, batch, seed)
    progress = ProgressDisplay(console)
    try:
        settings = settings_of(policy, recipe, decoding)
        results = evaluate(policy, tasks, decoding, folder, settings, progress.begin, progress.advance)
    finally:
        progress.end()
    _print(console, results)
    console.print(f"evaluation: {folder}", highlight=False, markup=False, soft_wrap=True)


def _print(console: "Console", results: "Results") -> None:
    unjudged = f", {results.unjudged} of them unjudged" if results.unjudged else ""
    console.print(f"{results.answers} answers to {results.tasks} tasks{unjudged}", highlight=False)
    shown = {
        "right": results.accuracy,
        "tokens": results.tokens,
        "reasoning tokens": results.reasoning_tokens,
        "cut off": results.cut,
        **{f"reward {name}": value for name, value in results.parts.items()},
    }
    for name, value in shown.items():
        console.print(f"  {name:<18} {value if value is not None else '-'}", highlight=False, markup=False)
