"""The command `rhythm`: parses, imports what a command needs when it runs, prints errors without a traceback."""

import json
import os
import shlex
import sys
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from rl.recipe import Recipe

app = typer.Typer(
    name="rhythm",
    help="Reinforcement-learning fine-tuning of language models, with credit read from the model's own attention.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FAILED, FAULT, ALARMED, INTERRUPTED = 1, 2, 3, 130
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the recipe, such as stages.grpo.trainer.steps=50."
    ),
]
Overlays = Annotated[
    list[str] | None,
    typer.Option(
        "--with", metavar="FILE", help="Lay the keys of a file over the recipe, such as a smaller model for a try."
    ),
]


@app.callback(invoke_without_command=True)
def rhythm(version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False) -> None:
    """Take the options that belong to no command."""
    if version:
        from rl import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def check(name: RecipeName, overrides: Overrides = None, overlays: Overlays = None) -> None:
    """Print the resolved RECIPE, or all its faults at once."""
    from ruamel.yaml import YAML

    from rl.recipe import dump, load

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.sort_base_mapping_type_on_output = False, False  # pyright: ignore
    writer.dump(dump(load(name, overrides or [], overlays or [])), sys.stdout)


@app.command()
def recipes() -> None:
    """List the shipped recipes."""
    from rl.recipe import load, shipped, shipped_names

    for name in shipped_names():
        stages = ", ".join(stage.trainer.kind for stage in load(name).stages)
        typer.echo(f"{name:24} {stages:12} {shipped('recipes') / name}.yaml")


@app.command()
def keys() -> None:
    """Explain every key of a recipe, as Markdown."""
    from rl.recipe.reference import reference

    typer.echo(reference(), nl=False)


@app.command()
def train(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="A recipe file or a shipped recipe's name; none with --resume."),
    ] = None,
    overrides: Overrides = None,
    overlays: Overlays = None,
    run_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run; by default runs/<recipe>-<time>.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --run-dir.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and write nothing.")] = False,
) -> None:
    """Run RECIPE from data to report."""
    recipe = _recipe_to_train(name, overrides or [], overlays or [], run_dir if resume else None, resume)
    path = run_dir or Path("runs") / f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
    console = _patient_console()
    if dry_run:
        for line in plan_lines(recipe, path):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    with console.status("loading"):
        from rl.run import Alarmed, Interrupted, RunFailed
        from rl.run import train as run
    try:
        report = run(recipe, path, resume=resume, console=console)
    except (Interrupted, KeyboardInterrupt) as stop:
        _say_how_to_go_on(path, str(stop) or "Ctrl-C", INTERRUPTED)
    except Alarmed as alarm:
        _say_how_to_go_on(path, str(alarm), ALARMED)
    except RunFailed as failure:
        _say_how_to_go_on(path, f"failed: {failure}", FAILED)
    console.print(f"report: {report}", highlight=False, markup=False, soft_wrap=True)


def _recipe_to_train(
    name: str | None, overrides: list[str], overlays: list[str], run_dir: Path | None, resume: bool
) -> "Recipe":
    """Return the recipe that was named, or on --resume without a name the run's own."""
    from rl.recipe import load, resolve

    if resume and run_dir is None:
        _fail("--resume needs --run-dir, the run to go on with")
    if name is not None:
        return load(name, overrides, overlays)
    if run_dir is None:
        _fail("name a RECIPE (rhythm recipes lists the shipped ones), or go on with a run: --resume --run-dir DIR")
    if overrides or overlays:
        option = "--set" if overrides else "--with"
        _fail(f"{option} changes a recipe, but a resumed run goes on with its own; leave {option} out")
    from rl.telemetry.record import read_recipe

    return resolve(read_recipe(run_dir), str(run_dir / "recipe.json"))


def plan_lines(recipe: "Recipe", path: Path) -> list[str]:
    """Return what a run of the recipe would do, a line a stage."""
    lines = [f"run directory: {path}", f"model: {recipe.model.name}, {recipe.model.dtype}, seed {recipe.seed}"]
    for stage in recipe.stages:
        trainer = stage.trainer
        source, credit = stage.data or recipe.data, stage.credit or recipe.credit
        extra = f", credit {credit.kind}" if trainer.kind != "sft" else ""
        if trainer.kind == "ppo":
            critic = {None: "on the policy's trunk", "policy": "a copy of the policy"}.get(trainer.critic.model)
            extra += f", critic {critic or trainer.critic.model}, KL weight {trainer.kl.weight:g}"
        lines.append(
            f"stage {stage.name}: {trainer.kind}, {trainer.steps} steps at {trainer.learning_rate:g}, "
            f"data {source.kind}{extra}"
        )
    return lines


@app.command()
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
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Ask a trained policy, with as much effort as you like."""
    asked = questions or _lines_of_input()
    if effort is not None and tokens is not None:
        _fail("--effort and --tokens are two ways to ask for a length; give one of them")
    if (effort is not None and not 0 < effort < 1000) or (tokens is not None and tokens < 1):
        _fail("--effort and --tokens should be above 0, and an effort below 1000")
    if not all(question.strip() for question in asked):
        _fail("a QUESTION is empty")
    with _patient_console().status("loading") if sys.stdout.isatty() else nullcontext():
        from rl.generate import Policy
    policy = Policy.load(model, system=system, effort=effort, tokens=tokens, seed=seed)
    if policy.dial is not None and not policy.knows_dial:
        typer.echo("rhythm: this policy was not trained to be asked for a length; it may pay no heed", err=True)
    for question in asked:
        reply = policy.reply(question, max_tokens=max_tokens, temperature=temperature)
        if as_json:
            typer.echo(json.dumps(asdict(reply), ensure_ascii=False))
            continue
        typer.echo(reply.completion)
        reasoned = f", {reply.num_reasoning_tokens} of them reasoning" if "</think>" in reply.completion else ""
        typer.secho(f"[{reply.num_tokens} tokens{reasoned}]", dim=True)


def _lines_of_input() -> list[str]:
    try:
        text = "" if sys.stdin.isatty() else sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        _fail(f"standard input is not UTF-8 text (byte {error.start})")
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        _fail("ask at least one QUESTION, as an argument or as a line of standard input")
    return found


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]) -> None:
    """Write RUN/report.html again from what the run wrote down."""
    from rl.report import write_report
    from rl.telemetry.record import read_recipe

    read_recipe(run_dir)
    try:
        typer.echo(f"report: {write_report(run_dir)}")
    except OSError as error:
        _fail(f"{error.filename or run_dir}: cannot be read or written: {error.strerror}")


def _patient_console() -> "Console":
    """Return a console that falls silent when nobody reads it any more: a lost pager must not cost a run."""
    from rich.console import Console

    class PatientConsole(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return PatientConsole()


def _say_how_to_go_on(path: Path, reason: str, code: int) -> NoReturn:
    from rl.telemetry.record import COMPLETE

    if not (path / "recipe.json").is_file():
        typer.echo(f"rhythm: stopped ({reason}) before the run began; nothing was written", err=True)
        raise typer.Exit(code)
    saved = any(path.glob(f"checkpoints/*/checkpoint-*/{COMPLETE}")) or any(path.glob("checkpoints/*/final"))
    kept = "the newest checkpoint and all files so far are kept" if saved else "no checkpoint yet; the files are kept"
    typer.echo(f"rhythm: stopped ({reason}); {kept}; go on with", err=True)
    typer.echo(f"  rhythm train --resume --run-dir {shlex.quote(str(path))}", err=True)
    raise typer.Exit(code)


def _fail(message: str) -> NoReturn:
    typer.echo(f"rhythm: {message}", err=True)
    raise typer.Exit(FAULT)


def main() -> None:
    """Run the command; a fault of the user's is a message and exit code 2."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        sys.exit(INTERRUPTED)
    except (ValueError, OSError) as error:
        if not _is_users(error):
            raise
        typer.echo("\n".join(f"rhythm: {line}" for line in str(error).splitlines()), err=True)
        sys.exit(FAULT)


def _is_users(error: BaseException) -> bool:
    """Say whether an error is one of ours for users: RecipeError, RunError, DataError, ModelError."""
    return type(error).__module__.split(".")[0] == "rl"
