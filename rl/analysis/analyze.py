"""From a policy and a file of traces to the echo analysis, and its files."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from rl.analysis.echo import Detector, Measured, measure
from rl.analysis.page import render
from rl.analysis.summary import Summary, summarize
from rl.analysis.traces import AnalysisError, judge_by, read_traces
from rl.parts import build_likeness, build_rubric, build_rule
from rl.policy import Policy
from rl.recipe.distill_sections import Detection
from rl.recipe.sections import Recipe
from rl.telemetry.jsonl import write_atomically
from rl.telemetry.progress import ProgressDisplay


def analyze_echo(
    model: str,
    traces: Path,
    recipe: Recipe,
    folder: Path,
    *,
    system: str | None,
    limit: int | None,
    batch: int,
    seed: int,
    console: Console,
) -> Summary:
    """Analyse the echoes of a file of traces under a policy, and write echo.json, traces.jsonl and echo.html to folder.

    The recipe's rewards say what is right, its distill section what an echo is. Raises AnalysisError, DataError,
    EchoError, ModelError and RunError before anything is written.
    """
    detection = recipe.distill.detection if recipe.distill else Detection()
    if folder.exists() and not folder.is_dir():
        raise AnalysisError(f"{folder}: is a file; give --out a folder")
    with console.status("loading"):
        rows = read_traces(traces, limit, judge_by(build_rubric(recipe.rewards)))
        detector = Detector(build_rule(detection), build_likeness(detection))
        policy = Policy.load(model, system=system)
    policy.system = policy.system or recipe.data.system
    progress = ProgressDisplay(console)
    progress.begin("traces", len(rows), 0)
    try:
        found = measure(policy, rows, detector, batch=batch, heard=progress.advance)
    finally:
        progress.end()
    with console.status("intervals"):
        summary = summarize(found, seed)
    facts = {"model": model, "data": str(traces), "recipe": recipe.name, "traces": summary.traces}
    facts |= {"with an echo": summary.with_echo, "right": summary.right, "wrong": summary.wrong}
    _write(folder, facts, summary, found)
    return summary


def _write(folder: Path, facts: dict[str, str | int], summary: Summary, found: list[Measured]) -> None:
    shown = [(name, f"{value:,}" if isinstance(value, int) else value) for name, value in facts.items()]
    page = render("Echo", shown, summary, found).encode("utf-8", "replace").decode()
    lines = (json.dumps(asdict(one), ensure_ascii=False, allow_nan=False) for one in found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "traces.jsonl", "".join(f"{line}\n" for line in lines))
        write_atomically(folder / "echo.json", json.dumps({**facts, **summary.as_dict()}, indent=2) + "\n")
        write_atomically(folder / "echo.html", page)
    except OSError as error:
        raise AnalysisError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None
