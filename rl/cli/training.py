"""The command that trains."""

import os
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from rl.cli.app import Overlays, Overrides, fail, patient_console
from rl.endings import ALARMED, FAILED, INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from rl.processes.early import EarlySignal
    from rl.processes.place import Place
    from rl.recipe import Recipe


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
    """Run RECIPE from data to report.

    Alone, or as one of the processes that torchrun, accelerate or srun start. Where the recipe's cluster section names
    processes and nobody has started them, they are started here.
    """
    from rl.processes.early import EarlySignal
    from rl.processes.place import find_place, leave_settings_of_accelerate
    from rl.telemetry.record import check_new, check_taken_up, has_finished

    early = EarlySignal()
    recipe = _recipe_to_train(name, overrides or [], overlays or [], run_dir if resume else None, resume)
    path = run_dir or Path("runs") / f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
    console = patient_console()
    if dry_run:
        check_taken_up(path) if resume else check_new(path)
        for line in plan_lines(recipe, path):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    place = find_place()
    console.quiet = not place.is_main
    if resume and name is None and has_finished(path):
        _say_report("the run has finished; report", path, console)
        return
    unheeded = leave_settings_of_accelerate()
    if unheeded and place.is_main:
        typer.echo(f"rhythm: {', '.join(unheeded)} of accelerate has no effect; the recipe's cluster decides", err=True)
    if place.world == 1 and (recipe.cluster.world or recipe.cluster.nodes) > 1:
        raise typer.Exit(_start_processes(recipe, path, early))
    if recipe.cluster.world not in (None, place.world):
        fail(f"cluster: {recipe.cluster.world} processes are wanted, but {place.world} were launched; make them equal")
    _run(recipe, path, resume, console, place, early)


def _run(recipe: "Recipe", path: Path, resume: bool, console: "Console", place: "Place", early: "EarlySignal") -> None:
    """Train as the process that this is, and leave with the exit code of what ended it."""
    if place.world > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns every process of parameters that it looks for
    with console.status("loading"):
        from rl.run import Alarmed, Interrupted, RunFailed, train
    requeued = int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0
    try:
        train(recipe, path, resume=resume, console=console, place=place, early=early, requeued=requeued)
    except (Interrupted, KeyboardInterrupt) as stop:
        _say_how_to_go_on(path, str(stop) or "Ctrl-C", INTERRUPTED, place)
    except Alarmed as alarm:
        _say_how_to_go_on(path, str(alarm), ALARMED, place)
    except RunFailed as failure:
        _say_how_to_go_on(path, f"failed: {failure}", FAILED, place)
    _say_report("report", path, console)


def _say_report(words: str, path: Path, console: "Console") -> None:
    console.print(f"{words}: {path / 'report.html'}", highlight=False, markup=False, soft_wrap=True)


def _start_processes(recipe: "Recipe", path: Path, early: "EarlySignal") -> int:
    """Start the processes that a recipe names on this machine, with the words of this command; return the exit code."""
    from rl.processes.spawn import spawn

    if recipe.cluster.nodes > 1:
        fail(
            f"cluster.nodes: {recipe.cluster.nodes} nodes need a launcher: rhythm launch, or torchrun or srun with "
            "this command on every node"
        )
    assert recipe.cluster.processes is not None  # of one node, more than one
    words = sys.argv[1:]
    if not any(word.split("=")[0] == "--run-dir" for word in words):
        words = [*words, "--run-dir", str(path)]
    return spawn(words, recipe.cluster.processes, early)


def _recipe_to_train(
    name: str | None, overrides: list[str], overlays: list[str], run_dir: Path | None, resume: bool
) -> "Recipe":
    """Return the recipe that was named, or on --resume without a name the run's own."""
    from rl.recipe import load, resolve

    if resume and run_dir is None:
        fail("--resume needs --run-dir, the run to go on with")
    if name is not None:
        return load(name, overrides, overlays)
    if run_dir is None:
        fail("name a RECIPE (rhythm recipes lists the shipped ones), or go on with a run: --resume --run-dir DIR")
    if overrides or overlays:
        option = "--set" if overrides else "--with"
        fail(f"{option} changes a recipe, but a resumed run goes on with its own; leave {option} out")
    from rl.telemetry.record import read_recipe

    return resolve(read_recipe(run_dir), str(run_dir / "recipe.json"))


def plan_lines(recipe: "Recipe", path: Path) -> list[str]:
    """Return what a run of the recipe would do, a line a stage."""
    lines = [f"run directory: {path}", f"model: {recipe.model.name}, {recipe.model.dtype}, seed {recipe.seed}"]
    lines.append(f"cluster: {_cluster_words(recipe)}")
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


def _cluster_words(recipe: "Recipe") -> str:
    cluster = recipe.cluster
    nodes, processes = cluster.nodes, cluster.processes
    each = (
        "as many processes as are launched"
        if processes is None
        else f"{processes} process{'es'[: 2 * (processes > 1)]}"
    )
    words = [f"{nodes} nodes of {each}" if nodes > 1 else each, f"ZeRO-{cluster.zero}" if cluster.zero else "no ZeRO"]
    words += [f"offload {cluster.offload}"] if cluster.offload != "none" else []
    words += [f"passes in {cluster.precision}"]
    words += [f"vLLM {cluster.vllm.mode}"] if cluster.vllm.mode != "off" else []
    return ", ".join(words)


def _say_how_to_go_on(path: Path, reason: str, code: int, place: "Place") -> NoReturn:
    from rl.checkpoints import MANIFEST

    if not place.is_main:
        raise typer.Exit(code)
    if not (path / "recipe.json").is_file():
        typer.echo(f"rhythm: stopped ({reason}) before the run began; nothing was written", err=True)
        raise typer.Exit(code)
    saved = any(path.glob(f"checkpoints/*/checkpoint-*/{MANIFEST}")) or any(path.glob("checkpoints/*/final"))
    kept = "the newest checkpoint and all files so far are kept" if saved else "no checkpoint yet; the files are kept"
    typer.echo(f"rhythm: stopped ({reason}); {kept}; go on with", err=True)
    typer.echo(f"  rhythm train --resume --run-dir {shlex.quote(str(path))}", err=True)
    raise typer.Exit(code)
