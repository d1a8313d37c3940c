"""Commands that analyse what a policy does: analyze echo, anchors, influence."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import patient_console
from rl.cli.asking import Seed, System

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from rl.analysis.anchors.analyze import Anchors
    from rl.analysis.influence.analyze import Influence
    from rl.analysis.summary import Summary
    from rl.recipe.sections import Recipe

analyze = typer.Typer(name="analyze", help="Look into what a policy does.", no_args_is_help=True)


@analyze.command()
def echo(
    model: Annotated[str, typer.Argument(help="A run directory, a policy's folder, or a hub name.")],
    traces: Annotated[
        Path, typer.Argument(metavar="DATA", help="Traces: .parquet or .jsonl with question and completion.")
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="Whose rewards say what is right, and whose distill section what an echo is; a run has one.",
        ),
    ] = None,
    system: System = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Read only the first N traces.")] = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Traces in one forward pass.")] = 8,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Seed of the intervals.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="By default analysis/echo-<MODEL>-<DATA>.")
    ] = None,
) -> None:
    """Measure what echoes of the question do (arXiv 2602.06600), by the policy's own probabilities and attention.

    The likelihood gap is the mean log-prob of a trace's tokens less that of the trace without its echo; the suffix gap
    is that of what follows the echo, with it and without. Both by right and wrong, with intervals and a logistic
    regression. Refocusing is the attention to the echo and to the question from what follows, against neutral words as
    long. Writes echo.json, traces.jsonl and echo.html.
    """
    console = patient_console()
    with console.status("loading"):
        from rl.analysis.analyze import analyze_echo
        from rl.telemetry.logs import quiet_libraries

        quiet_libraries()
    folder = out or Path("analysis") / f"echo-{Path(model).name}-{traces.absolute().parent.name}-{traces.stem}"
    chosen = _recipe_for(model, recipe)
    summary = analyze_echo(
        model, traces, chosen, folder, system=system, limit=limit, batch=batch, seed=seed, console=console
    )
    _print(console, summary)
    console.print(f"analysis: {folder / 'echo.html'}", highlight=False, markup=False, soft_wrap=True)


@analyze.command()
def anchors(
    model: Annotated[str, typer.Argument(help="A run directory, a policy's folder, or a hub name.")],
    traces: Annotated[
        Path, typer.Argument(metavar="DATA", help="Traces: .parquet or .jsonl with question and completion.")
    ],
    row: Annotated[int, typer.Option(metavar="N", min=1, help="Which of the traces is drawn, from 1 on.")] = 1,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Read only the first N traces.")] = 20,
    resample: Annotated[
        int, typer.Option(metavar="N", min=0, help="Go on N times from each sentence of that trace; 100 in the paper.")
    ] = 0,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="With --resample: most tokens to go on.")] = 1024,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE", help="Whose rewards say what is right, and whose distill section how alike sentences are."
        ),
    ] = None,
    system: System = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Sequences in one forward pass.")] = 4,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="By default analysis/anchors-<MODEL>-<DATA>.")
    ] = None,
) -> None:
    """Find the sentences that the rest of a reasoning hangs on (arXiv 2506.19143).

    Receiver heads look back at few sentences: which heads do, and at which sentences. Suppression hides a sentence from
    all later ones, and says how far each of these moves. With --resample, the policy goes on with and without every
    sentence of one trace, which says what it changes of the answer. Writes anchors.json, sentences.jsonl and
    anchors.html.
    """
    console = patient_console()
    with console.status("loading"):
        from rl.analysis.anchors.analyze import Resampling, analyze_anchors
        from rl.telemetry.logs import quiet_libraries

        quiet_libraries()
    folder = out or Path("analysis") / f"anchors-{Path(model).name}-{traces.absolute().parent.name}-{traces.stem}"
    options = {"system": system, "limit": limit, "row": row, "batch": batch, "console": console}
    resampling = Resampling(resample, max_tokens, seed)
    found = analyze_anchors(model, traces, _recipe_for(model, recipe), folder, resampling=resampling, **options)
    _print_anchors(console, found)
    console.print(f"analysis: {folder / 'anchors.html'}", highlight=False, markup=False, soft_wrap=True)


def _print_anchors(console: "Console", found: "Anchors") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from rl.analysis.anchors.suppression import importances

    trace = found.traces[found.shown]
    said = f"{len(found.traces)} traces, {sum(len(one.sentences) for one in found.traces)} sentences"
    said += f"; {found.too_long} more are too long for the model and left out" if found.too_long else ""
    console.print(said, highlight=False)
    heads = ", ".join(f"{layer}.{head}" for layer, head in found.receivers.heads)
    console.print(f"receiver heads: {heads or 'none, for want of sentences'}", highlight=False)
    values = importances(found.matrices[found.shown])
    known = sorted(
        (place for place, value in enumerate(values) if value is not None), key=lambda at: -(values[at] or 0)
    )
    table = Table("", "effect", "sentence", title="anchors of the trace", title_justify="left", box=box.SIMPLE_HEAD)
    for place in known[:5]:
        table.add_row(str(place + 1), f"{values[place]:+.2f}", Text(trace.texts[place], overflow="ellipsis"))
    if known:
        console.print(table)


@analyze.command()
def influence(
    model: Annotated[str, typer.Argument(help="A run directory, a policy's folder, or a hub name.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Rows to choose from: .parquet or .jsonl.")],
    text: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of text; by default question and completion where it has any."),
    ] = None,
    domain: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Choose within each of its values; by default all are one.")
    ] = None,
    share: Annotated[float, typer.Option(metavar="S", min=0.0, max=1.0, help="Share of a domain that is kept.")] = 0.2,
    head_share: Annotated[
        float, typer.Option(metavar="S", min=0.0, max=1.0, help="Share of heads that are made even.")
    ] = 0.05,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=2, help="Longer rows are read so far alone.")] = 2048,
    system: System = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Read only the first N rows.")] = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Rows in one forward pass.")] = 8,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Seed of the needles.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="By default analysis/influence-<MODEL>-<DATA>.")
    ] = None,
) -> None:
    """Choose rows by what a policy's retrieval heads do for them: AttentionInfluence (arXiv 2505.07293).

    Retrieval heads are found on needles in the data's own text, and made to look at all they see alike; a row's score
    is how much its loss grows by that, as a share. Rows to train on, or prompts for RL: without a completion the
    question alone counts. Writes scored.parquet, top.parquet and influence.json.
    """
    console = patient_console()
    with console.status("loading"):
        from rl.analysis.influence.analyze import analyze_influence
        from rl.telemetry.logs import quiet_libraries

        quiet_libraries()
    folder = out or Path("analysis") / f"influence-{Path(model).name}-{data.absolute().parent.name}-{data.stem}"
    options = {"text": text, "domain": domain, "share": share, "head_share": head_share, "max_tokens": max_tokens}
    options |= {"system": system, "limit": limit, "batch": batch, "seed": seed, "console": console}
    found = analyze_influence(model, data, folder, **options)
    _print_influence(console, found)
    console.print(f"chosen: {folder / 'top.parquet'}", highlight=False, markup=False, soft_wrap=True)


def _print_influence(console: "Console", found: "Influence") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heads = ", ".join(f"{layer}.{head} ({found.retrieval[layer, head]:.2f})" for layer, head in found.heads)
    console.print(f"retrieval heads: {heads}", highlight=False)
    if not found.copies:
        typer.echo("rhythm: none of these heads copies, so scores say little; take a model that can", err=True)
    if found.cut:
        console.print(f"{found.cut} rows were longer than --max-tokens, and read so far", highlight=False)
    names = list(next(iter(found.domains.values())).quantiles)
    table = Table(
        "domain", "rows", "kept", "from", *(f"{100 * float(name):g} %" for name in names), box=box.SIMPLE_HEAD
    )
    for name, one in found.domains.items():
        least = "-" if one.threshold is None else f"{one.threshold:+.3f}"
        cells = (f"{one.quantiles[at]:+.3f}" if at in one.quantiles else "-" for at in names)
        table.add_row(Text(name), f"{one.rows:,}", f"{one.kept:,}", least, *cells)
    console.print(table)


def _recipe_for(model: str, name: str | None) -> "Recipe":
    """Return the recipe that was named, or the run's own, or else the defaults."""
    from rl.recipe import load, resolve
    from rl.recipe.sections import Recipe
    from rl.telemetry.record import read_recipe

    if name is not None:
        return load(name)
    for path in (Path(model), *Path(model).absolute().parents[:3]):  # a run, or RUN/checkpoints/STAGE/final
        if (path / "recipe.json").is_file():
            return resolve(read_recipe(path), str(path / "recipe.json"))
    return Recipe()


def _one_a_line(rows: "list[list[str]]", heads: "Sequence[str]") -> list[list[str]]:
    """Return a table's cells as lines of their own, which fit on any terminal; those without a value are left out."""
    return [
        [name if place == 0 else "", outcome, cell]
        for name, *cells in rows
        for place, (outcome, cell) in enumerate(zip(heads[1:], cells, strict=True))
        if cell != "-"
    ]


def _print(console: "Console", summary: "Summary") -> None:
    from rich import box
    from rich.table import Table

    from rl.analysis import page

    said = f"{summary.traces} traces, {summary.with_echo} with an echo; {summary.right} right, {summary.wrong} wrong"
    said += f"; {summary.too_long} more are too long for the model and left out" if summary.too_long else ""
    console.print(said, highlight=False)
    if not summary.with_echo:
        console.print("nothing can be said of echoes; distill.detection of --recipe says what counts as one")
    tables = [("", ("with an echo", "traces", "mean [95 % interval]"), _one_a_line(page.rows_of(summary), page.HEADS))]
    tables += [
        (f"attention to the {span}, percent", ("", "echo", "neutral words", "difference"), rows)
        for span in summary.attention
        if (rows := page.attention_rows(summary, span))
    ]
    tables += [("right or wrong, logistic regression", ("predictor", "log-odds", "p"), page.regression_rows(summary))]
    for title, heads, rows in tables:
        if rows:
            table = Table(*heads, title=title or None, title_justify="left", title_style="", box=box.SIMPLE_HEAD)
            for row in rows:
                table.add_row(*row)
            console.print(table)
    if isinstance(summary.regression, str):
        console.print(f"no regression: {summary.regression}", highlight=False, markup=False)
