"""From a policy and a file of traces to their thought anchors, and their files."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rl.analysis.anchors.marked import Marked, mark
from rl.analysis.anchors.page import render
from rl.analysis.anchors.receivers import Receivers, find_receivers
from rl.analysis.anchors.resampling import Resampled, resample
from rl.analysis.anchors.suppression import Matrix, importances, suppression
from rl.analysis.folder import claim
from rl.analysis.traces import AnalysisError, judge_by, read_traces
from rl.attention import readable_layers
from rl.parts import build_likeness, build_rubric
from rl.policy import Policy, digest_of
from rl.recipe.data_sections import Columns
from rl.recipe.distill_sections import Detection
from rl.recipe.sections import Recipe
from rl.telemetry.jsonl import write_atomically
from rl.telemetry.progress import ProgressDisplay


@dataclass(frozen=True)
class Resampling:
    """Say how often a policy goes on from each sentence of the shown trace, with how many tokens at most."""

    count: int
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Anchors:
    """Hold the traces, their receiver heads, the effects of each one's sentences, and which trace is shown.

    `resampled` is of the shown trace; None where nothing was resampled.
    """

    traces: Sequence[Marked]
    receivers: Receivers
    matrices: Sequence[Matrix]
    shown: int
    resampled: Sequence[Resampled] | None
    too_long: int


def analyze_anchors(
    model: str,
    traces: Path,
    recipe: Recipe,
    folder: Path,
    *,
    system: str | None,
    limit: int,
    row: int,
    resampling: Resampling,
    batch: int,
    console: Console,
) -> Anchors:
    """Find the anchors of a file of traces under a policy; write anchors.json, sentences.jsonl and anchors.html.

    Trace number `row`, from 1 on, is the one that is drawn and resampled. Raises AnalysisError, DataError, EchoError,
    ModelError, ProbeError and RunError before anything is written.
    """
    judge = judge_by(
        build_rubric(recipe.rewards), recipe.data.answer_after if isinstance(recipe.data, Columns) else None
    )
    detection = recipe.distill.detection if recipe.distill else Detection()
    with console.status("loading"):
        rows = read_traces(traces, limit, judge)
        if row > len(rows):
            raise AnalysisError(f"{traces}: --row {row} is not among the {len(rows)} traces read; see --limit")
        likeness = build_likeness(detection)
        policy = Policy.load(model, system=system, fallback=recipe.data.system)
        marked = [mark(policy, one) for one in rows]
    fitting = [one for one in marked if len(one.ids) <= policy.context]
    shown = marked[row - 1]
    if shown not in fitting:
        raise AnalysisError(f"{shown.trace.where}: does not fit into the model's {policy.context} tokens; see --row")
    claim(folder)

    def go_on(heard: Callable[[int], None]) -> Sequence[Resampled]:
        options = {"max_tokens": resampling.max_tokens, "batch": batch, "seed": resampling.seed}
        return resample(policy, shown, resampling.count, judge=judge, likeness=likeness, heard=heard, **options)

    found = _find(
        policy, fitting, fitting.index(shown), len(marked), go_on if resampling.count else None, batch, console
    )
    facts = {
        "model": model,
        "weights": digest_of(Path(policy.name)),
        "system": policy.system,
        "data": str(traces),
        "limit": limit,
        "row": row,
        "recipe": recipe.name,
        "resampling": {**asdict(resampling), "likeness": detection.similarity.model_dump()}
        if found.resampled
        else None,
    }
    _write(folder, facts, found)
    return found


def _find(
    policy: Policy,
    traces: Sequence[Marked],
    shown: int,
    read: int,
    go_on: Callable[[Callable[[int], None]], Sequence[Resampled]] | None,
    batch: int,
    console: Console,
) -> Anchors:
    layers = readable_layers(policy.model)
    if not layers:
        raise AnalysisError(f"{policy.name}: has no layer whose attention can be read")
    progress = ProgressDisplay(console)
    try:
        progress.begin("receiver heads, traces", len(traces), 0)
        receivers = find_receivers(policy, traces, layers, batch=batch, heard=progress.advance)
        progress.begin("suppression, sentences", sum(len(one.sentences) - 1 for one in traces), 0)
        matrices = [suppression(policy, one, batch=batch, heard=progress.advance) for one in traces]
        resampled = None
        if go_on is not None:
            progress.begin("resampling, sentences", len(traces[shown].sentences), 0)
            resampled = go_on(progress.advance)
    finally:
        progress.end()
    return Anchors(traces, receivers, matrices, shown, resampled, read - len(traces))


def _write(folder: Path, facts: Mapping[str, Any], found: Anchors) -> None:
    scores = [[layer, head, score] for (layer, head), score in found.receivers.scores.items()]
    said = {
        **facts,
        "traces": len(found.traces),
        "too_long": found.too_long,
        "receiver_heads": [list(head) for head in found.receivers.heads],
        "kurtosis": scores,
        "matrix": found.matrices[found.shown],
    }
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in _rows(found)]
    page = render(facts, found).encode("utf-8", "replace").decode()
    try:
        write_atomically(folder / "sentences.jsonl", "".join(f"{line}\n" for line in lines))
        write_atomically(folder / "anchors.json", json.dumps(said, indent=1, allow_nan=False) + "\n")
        write_atomically(folder / "anchors.html", page)
    except OSError as error:
        raise AnalysisError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None


def _rows(found: Anchors) -> list[dict[str, Any]]:
    """Return a row for each sentence; `effects` are those on the sentences behind it, in order."""
    rows = []
    for number, (trace, matrix) in enumerate(zip(found.traces, found.matrices, strict=True)):
        importance = importances(matrix)
        own = found.resampled if number == found.shown else None
        for place, (start, stop) in enumerate(trace.sentences):
            rows.append(
                {
                    "where": trace.trace.where,
                    "sentence": place + 1,
                    "text": trace.texts[place],
                    "tokens": stop - start,
                    "received": found.receivers.received[number][place],
                    "importance": importance[place],
                    "effects": [row[place] for row in matrix[place + 1 :]],
                    "resampled": asdict(own[place]) if own else None,
                }
            )
    return rows
