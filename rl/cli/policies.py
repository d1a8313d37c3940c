"""Commands about what a run left behind: generate, report."""

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rl.cli.app import fail, patient_console
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


def generate(
    model: Annotated[str, typer.Argument(help="A run directory, a policy's folder, or a hub name.")],
    questions: Annotated[
        list[str] | None, typer.Argument(metavar="[QUESTION]...", help="By default the lines of standard input.")
    ] = None,
    effort: Effort = None,
    tokens: Tokens = None,
    system: System = None,
    max_tokens: MaxTokens = 1024,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    again: Reminder = None,
    first: First = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Ask a trained policy, with as much effort as you like."""
    asked = questions or _lines_of_input()
    if not all(question.strip() for question in asked):
        fail("a QUESTION is empty")
    if any("\ud800" <= letter <= "\udfff" for question in asked for letter in question):
        fail("a QUESTION is not UTF-8 text")
    with patient_console().status("loading") if sys.stdout.isatty() else nullcontext():
        import torch

        from rl.data import Task
        from rl.generate import ask, replies
        from rl.policy import Policy
    halfway = check(effort, tokens, temperature, again, first, max_tokens)
    policy = Policy.load(model, system=system, effort=effort, tokens=tokens)
    warn_of_dial(policy)
    torch.manual_seed(seed)
    tasks = [ask(policy, Task("QUESTION", question, ""), max_tokens, halfway) for question in asked]
    for task in tasks:
        [reply] = replies(policy, [task], temperature=temperature, again=halfway)
        if as_json:
            typer.echo(json.dumps(asdict(reply), ensure_ascii=False))
            continue
        typer.echo(reply.completion)
        reasoned = f", {reply.num_reasoning_tokens} of them reasoning" if "</think>" in reply.completion else ""
        reminder = f", {reply.num_reminder_tokens} of them the reminder's" if reply.num_reminder_tokens else ""
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
        typer.echo(f"report: {write_report(run_dir, lambda note: typer.echo(f'rhythm: {note}', err=True))}")
    except OSError as error:
        fail(f"{error.filename or run_dir}: cannot be read or written: {error.strerror}")
