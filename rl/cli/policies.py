"""Commands about what a run left behind: generate, report."""

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from rl.cli.app import fail, patient_console


def generate(
    model: Annotated[str, typer.Argument(help="A run directory, a policy's folder, or a hub name.")],
    questions: Annotated[
        list[str] | None, typer.Argument(metavar="[QUESTION]...", help="By default the lines of standard input.")
    ] = None,
    effort: Annotated[
        float | None, typer.Option(metavar="R", help="Effort relative to the usual, such as 0.5.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(metavar="N", help="In place of effort: a number of tokens.")] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="System prompt; by default the one it was trained with.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Longest completion, in tokens.")] = 1024,
    temperature: Annotated[float, typer.Option(metavar="T", min=0, help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Seed of the sampling.")] = 0,
    again: Annotated[
        Literal["question", "neutral"] | None,
        typer.Option(help="Remind it half-way of the question, or as a control with neutral words as long."),
    ] = None,
    first: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="With --again: most tokens before it; by default half.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Ask a trained policy, with as much effort as you like."""
    asked = questions or _lines_of_input()
    if effort is not None and tokens is not None:
        fail("--effort and --tokens are two ways to ask for a length; give one of them")
    if (effort is not None and not 0 < effort < 1000) or (tokens is not None and tokens < 1):
        fail("--effort and --tokens should be above 0, and an effort below 1000")
    if first is not None and again is None:
        fail("--first says where --again comes in; give that too")
    if first is not None and first >= max_tokens:
        fail(f"--first {first} leaves nothing of --max-tokens {max_tokens}; lower it")
    if not all(question.strip() for question in asked):
        fail("a QUESTION is empty")
    with patient_console().status("loading") if sys.stdout.isatty() else nullcontext():
        import torch

        from rl.data import Task
        from rl.generate import Again, replies
        from rl.policy import Policy
    policy = Policy.load(model, system=system, effort=effort, tokens=tokens)
    torch.manual_seed(seed)
    halfway = Again(again, first) if again else None
    if policy.dial is not None and not policy.knows_dial:
        typer.echo("rhythm: this policy was not trained to be asked for a length; it may pay no heed", err=True)
    for question in asked:
        task = Task("question", question, "")
        [reply] = replies(policy, [task], max_tokens=max_tokens, temperature=temperature, again=halfway)
        if as_json:
            typer.echo(json.dumps(asdict(reply), ensure_ascii=False))
            continue
        typer.echo(reply.completion)
        reasoned = f", {reply.num_reasoning_tokens} of them reasoning" if "</think>" in reply.completion else ""
        reminder = f", {reply.num_reminder_tokens} of them the reminder's" if again else ""
        cut = "; cut off" if reply.cut else ""
        typer.secho(f"[{reply.num_tokens} tokens{reasoned}{reminder}{cut}]", dim=True)


def _lines_of_input() -> list[str]:
    try:
        text = "" if sys.stdin.isatty() else sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        fail(f"standard input is not UTF-8 text (byte {error.start})")
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        fail("ask at least one QUESTION, as an argument or as a line of standard input")
    return found


def report(run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]) -> None:
    """Write RUN/report.html again from what the run wrote down."""
    from rl.report import write_report
    from rl.telemetry.record import read_recipe

    read_recipe(run_dir)
    try:
        typer.echo(f"report: {write_report(run_dir)}")
    except OSError as error:
        fail(f"{error.filename or run_dir}: cannot be read or written: {error.strerror}")
