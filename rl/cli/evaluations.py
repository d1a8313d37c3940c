"""The command that measures how good policies are: eval."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import fail, patient_console
from rl.cli.asking import Agains, Efforts, First, MaxTokens, Numbers, Seed, System, Temperature, check, items

if TYPE_CHECKING:
    from rich.console import Console

    from rl.evaluation.arms import Wanted
    from rl.evaluation.evaluation import Evaluation

HERE, THERE = 16, 256  # answers that are written at a time by transformers, and by vLLM


def evaluate(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Run directories, policies' folders, or hub names.")
    ],
    suite: Annotated[
        str,
        typer.Option(metavar="NAME", help="A suite (`rhythm suites`), or a recipe whose data and rewards make one."),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the suite, such as data.path=rows.jsonl."),
    ] = None,
    samples: Annotated[int, typer.Option(metavar="K", min=1, help="Answers to each task.")] = 1,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Take only the first N tasks.")] = None,
    max_tokens: MaxTokens = 1024,
    temperature: Temperature = 0.0,
    again: Agains = None,
    first: First = None,
    effort: Efforts = None,
    tokens: Numbers = None,
    system: System = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Answers that are written at a time; by default 16.")
    ] = None,
    vllm: Annotated[bool, typer.Option("--vllm", help="Let vLLM write, which needs a GPU; 256 at a time.")] = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="By default evaluations/<suite>-<names of MODELS>.")
    ] = None,
) -> None:
    """Let policies answer a suite of tasks, and say how many they get right, with 95 % intervals.

    Several policies, efforts or reminders are arms of one evaluation: the same tasks, the same decoding, and paired
    differences to the first. Every answer is kept in generations.jsonl; results.json, results.md and results.html hold
    the figures. One that was broken off goes on where it stopped when it is given again.
    """
    wanted = _wanted(models, effort, tokens, again, first, temperature, max_tokens, system)
    if samples > 1 and temperature == 0:
        fail("--samples: at temperature 0 all are the same; give --temperature too")
    from rl.recipe.suites import load_suite

    recipe = load_suite(suite, [*(overrides or []), *([f"data.limit={limit}"] if limit else [])])
    console = patient_console()
    with console.status("loading"):
        from rl.evaluation.arms import names_of
        from rl.evaluation.decoding import Decoding
        from rl.evaluation.run import run_evaluation
        from rl.telemetry.logs import quiet_libraries
        from rl.telemetry.progress import ProgressDisplay

        quiet_libraries()
    folder = out or Path("evaluations") / f"{recipe.name}-{_shortly(names_of(models))}"
    size = batch or (THERE if vllm else HERE)
    decoding = Decoding(samples, max_tokens, temperature, size, seed, "vllm" if vllm else "transformers")
    progress = ProgressDisplay(console)
    try:
        found = run_evaluation(wanted, recipe, decoding, folder, progress.begin, progress.advance, _warn)
    except KeyboardInterrupt:
        progress.end()
        typer.echo(f"rhythm: stopped; what was answered is kept in {folder}; the same command goes on", err=True)
        raise
    finally:
        progress.end()
    _print(console, found)
    console.print(f"evaluation: {folder / 'results.html'}", highlight=False, markup=False, soft_wrap=True)


def _wanted(
    models: list[str],
    effort: str | None,
    tokens: str | None,
    again: str | None,
    first: int | None,
    temperature: float,
    max_tokens: int,
    system: str | None,
) -> "Wanted":
    """Return the arms that options ask for; leave where they say nothing that could be done."""
    efforts, numbers = items("--effort", effort, float), items("--tokens", tokens, int)
    agains = items("--again", again, str) or ["none"]
    for one in agains:
        if one not in ("none", "question", "neutral", "nothing"):
            fail(f"--again: {one!r} is no reminder; one of none, question, neutral, nothing")
    reminded = next((one for one in agains if one != "none"), None)
    for value in efforts or [None]:
        for number in numbers or [None]:
            check(value, number, temperature, reminded, first, max_tokens)
    from rl.evaluation.arms import Wanted

    return Wanted(models, efforts, numbers, agains, first, system)


def _shortly(names: list[str]) -> str:
    return "+".join(names) if len(names) < 4 else f"{names[0]}+{len(names) - 1}-others"


def _warn(text: str) -> None:
    typer.echo(f"rhythm: {text}", err=True)


def _print(console: "Console", found: "Evaluation") -> None:
    """Print the tables but for the settings, an arm's figures one below the other."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from rl.evaluation.tables import sheets_of

    for sheet in sheets_of(found):
        if sheet.title in ("Settings", "Arms"):
            continue
        table = Table(title=Text(sheet.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for head in (sheet.heads[0], "", ""):
            table.add_column(Text(head))
        for name, *cells in sheet.rows:
            for place, (head, cell) in enumerate(zip(sheet.heads[1:], cells, strict=True)):
                table.add_row(Text(name if place == 0 else ""), Text(head), Text(cell))
        console.print(Text(sheet.note, style="dim"), soft_wrap=True)
        console.print(table)
