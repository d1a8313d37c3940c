"""Read what a run directory holds, tolerating a run that stopped early."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class RunData:
    """Hold a run as read: notes has one plain sentence for each file with something missing."""

    name: str
    recipe: Row
    environment: Row
    metrics: list[Row]
    samples: list[Row]
    heads: list[Row]
    gaze: Row
    notes: dict[str, str]


def finite(value: Any) -> int | float | None:
    """Return value where it is a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def number(value: Any) -> int | float | None:
    """Return value as a finite number, floats rounded to 4 significant digits for a page, or None."""
    known = finite(value)
    return float(f"{known:.4g}") if isinstance(known, float) else known


def read_run(run_dir: Path) -> RunData:
    """Read every file of run_dir that is there."""
    notes: dict[str, str] = {}
    rows = {name: _read_lines(run_dir / f"{name}.jsonl", notes) for name in ("metrics", "samples", "heads")}
    recipe = _read_object(run_dir / "recipe.json", notes)
    if not rows["heads"] and rows["metrics"] and _never_measured(recipe):
        notes["heads"] = "This run did not follow its heads (telemetry.heads.every: 0), so there are none to show."
    return RunData(
        name=run_dir.resolve().name,
        recipe=recipe,
        environment=_read_object(run_dir / "environment.json", notes),
        metrics=_merge_steps(rows["metrics"]),
        samples=rows["samples"],
        heads=rows["heads"],
        gaze=_read_object(run_dir / "gaze.json", {}),
        notes=notes,
    )


def read_samples(run_dir: Path) -> list[Row]:
    """Read the rollouts that a run kept; lines that are none are left out."""
    return _read_lines(run_dir / "samples.jsonl", {})


def by_stage(rows: list[Row]) -> dict[str, list[Row]]:
    """Group rows by stage, in order of first appearance."""
    stages: dict[str, list[Row]] = {}
    for row in rows:
        stages.setdefault(str(row.get("stage", "")), []).append(row)
    return stages


def column(rows: list[Row], key: str) -> list[int | float | None]:
    """Return the numbers of one key, None where a row has none."""
    return [number(row.get(key)) for row in rows]


def _never_measured(recipe: Row) -> bool:
    telemetry = recipe.get("telemetry")
    heads = telemetry.get("heads") if isinstance(telemetry, dict) else None
    return isinstance(heads, dict) and heads.get("every") == 0


def _read_object(path: Path, notes: dict[str, str]) -> Row:
    try:
        value = json.loads(path.read_bytes().decode("utf-8", "replace"))
    except FileNotFoundError:
        notes[path.stem] = f"{path.name} is missing."
        return {}
    except ValueError:
        notes[path.stem] = f"{path.name} could not be read."
        return {}
    return value if isinstance(value, dict) else {}


def _read_lines(path: Path, notes: dict[str, str]) -> list[Row]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        notes[path.stem] = f"{path.name} is missing: the run was stopped before it wrote any."
        return []
    rows: list[Row] = []
    unreadable = 0
    # A last line without its newline is one the run was still writing; if it parses it is whole all the same.
    for place, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8", "replace"))
        except ValueError:
            unreadable += place < len(lines) - 1
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            unreadable += 1
    if unreadable:
        notes[path.stem] = f"{path.name}: {unreadable} unreadable line{'s' * (unreadable > 1)} left out."
    elif not rows:
        notes[path.stem] = f"{path.name} is empty: the run was stopped before it wrote any."
    return rows


def _merge_steps(rows: list[Row]) -> list[Row]:
    """Merge rows of the same stage and step, later values winning: a resumed run repeats steps."""
    merged: dict[tuple[str, float], Row] = {}
    for row in rows:
        step = number(row.get("step"))
        if step is not None:
            merged.setdefault((str(row.get("stage", "")), step), {}).update(row)
    order = {stage: place for place, stage in enumerate(dict.fromkeys(stage for stage, _ in merged))}
    return [merged[key] for key in sorted(merged, key=lambda key: (order[key[0]], key[1]))]
