"""From a policy and a file of traces to the echo analysis, and its files."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from rl.analysis.echo import Detector, Measured, measure
from rl.analysis.folder import claim
from rl.analysis.page import render
from rl.analysis.summary import Summary, summarize
from rl.analysis.traces import AnalysisError, judge_by, read_traces
from rl.parts import build_likeness, build_rubric, build_rule
from rl.policy import Policy, digest_of
from rl.recipe.data_sections import Columns
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
    EchoError, ModelError and RunError before anything is measured.
    """
    marker = recipe.data.answer_after if isinstance(recipe.data, Columns) else None
    detection = recipe.distill.detection if recipe.distill else Detection()
    with console.status("loading"):
        rows = read_traces(traces, limit, judge_by(build_rubric(recipe.rewards), marker))
        detector = Detector(build_rule(detection), build_likeness(detection))
        policy = Policy.load(model, system=system, fallback=recipe.data.system)
    claim(folder)
    progress = ProgressDisplay(console)
    progress.begin("traces", len(rows), 0)
    try:
        found = measure(policy, rows, detector, batch=batch, heard=progress.advance)
    finally:
        progress.end()
    with console.status("intervals"):
        summary = summarize(found, seed)
    facts = {
        "model": model,
        "weights": digest_of(Path(policy.name)),
        "system": policy.system,
        "data": str(traces),
        "limit": limit,
        "recipe": recipe.name,
        "detection": detection.model_dump(),
        "seed": seed,
    }
    _write(folder, facts, summary, found.measured)
    return summary


def _write(folder: Path, facts: dict[str, Any], summary: Summary, found: Sequence[Measured]) -> None:
    counts = {"traces": summary.traces, "with an echo": summary.with_echo, "right": summary.right}
    counts |= {"wrong": summary.wrong, "too long for the model": summary.too_long}
    shown = [(name, str(facts[name])) for name in ("model", "data", "recipe")]
    shown += [(name, f"{value:,}") for name, value in counts.items() if value or name != "too long for the model"]
    page = render("Echo", shown, summary, found).encode("utf-8", "replace").decode()
    lines = (json.dumps(asdict(one), ensure_ascii=False, allow_nan=False) for one in found)
    said = json.dumps({**facts, **summary.as_dict()}, indent=2, allow_nan=False)
    try:
        write_atomically(folder / "traces.jsonl", "".join(f"{line}\n" for line in lines))
        write_atomically(folder / "echo.json", said + "\n")
        write_atomically(folder / "echo.html", page)
    except OSError as error:
        raise AnalysisError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None
