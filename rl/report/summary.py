"""Condense a run into the facts, tiles and stages of the page's head."""

import json
from typing import Any

from rl.report.curves import running_mean, smoothing
from rl.report.rundata import Row, RunData, by_stage, column

ENDS = 10
SPARK_WIDTH, SPARK_HEIGHT = 240, 64


def facts(run: RunData) -> list[tuple[str, str]]:
    """Return what the run was, leaving out what neither file tells."""
    recipe, environment = run.recipe, run.environment
    told = [
        ("Recipe", _find(recipe, "name")),
        ("Method", _method(recipe)),
        ("Model", _find(recipe, "model.name")),
        ("Seed", _find(recipe, "seed")),
        ("Started", _find(environment, "started")),
        ("Commit", _find(environment, "commit")[:12]),
        ("Hardware", _hardware(environment)),
    ]
    return [(name, value) for name, value in told if value]


def tiles(run: RunData) -> list[Row]:
    """Return the key numbers: label, value, detail and, for the reward, a small curve."""
    stages = by_stage(run.metrics)
    if not stages:
        return []
    rewarded = [rows for rows in stages.values() if any(x is not None for x in column(rows, "reward/total/mean"))]
    rows = rewarded[-1] if rewarded else list(stages.values())[-1]
    made = [
        _reward_tile(rows) if rewarded else _ends_tile("Loss", rows, "optimizer/loss/mean", ""),
        _ends_tile("Final length", rows, "rollout/length/mean", "tokens"),
        _ends_tile("Entropy", rows, "policy/entropy/mean", "nats"),
        _steps_tile(stages),
        _time_tile(run.metrics),
        _speed_tile(rows),
    ]
    return [tile for tile in made if tile]


def stage_list(run: RunData) -> list[Row]:
    """Return the stages in order, planned or recorded: name, trainer, steps done and steps planned."""
    done = {name: int(rows[-1]["step"]) for name, rows in by_stage(run.metrics).items()}
    planned = run.recipe.get("stages")
    listed = [stage for stage in planned if isinstance(stage, dict)] if isinstance(planned, list) else []
    out = []
    for stage in listed:
        name = str(stage.get("name", "stage"))
        target = _find(stage, "trainer.steps")
        out.append({"name": name, "kind": _find(stage, "trainer.kind"), "done": done.pop(name, 0), "planned": target})
    return out + [{"name": name, "kind": "", "done": count, "planned": ""} for name, count in done.items()]


def flatten(tree: Row) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return a nested dict as sections of dotted paths and values; plain top-level values come first."""
    plain = [(key, _show(value)) for key, value in tree.items() if not _nested(value)]
    nested = [(str(key), _paths(value, "")) for key, value in tree.items() if _nested(value)]
    return ([("general", plain)] if plain else []) + nested


def show(value: float) -> str:
    """Write a number short enough for a tile."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Write seconds as a person would say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _find(tree: Row, path: str) -> str:
    value: Any = tree
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return "" if value is None or isinstance(value, (dict, list)) else str(value)


def _hardware(environment: Row) -> str:
    hardware = environment.get("hardware")
    gpus = hardware.get("gpus") if isinstance(hardware, dict) else None
    if isinstance(gpus, list) and gpus:
        return f"{len(gpus)} x {gpus[0]}"
    cores = _find(environment, "hardware.cores")
    return f"{cores} CPU cores" if cores else ""


def _method(recipe: Row) -> str:
    stages = recipe.get("stages")
    kinds = [_find(stage, "trainer.kind") for stage in stages] if isinstance(stages, list) else []
    credit = _find(recipe, "credit.kind")
    steps = ", then ".join(kind for kind in kinds if kind)
    return f"{steps} with {credit} credit" if steps and credit else steps or credit


def _ends(rows: list[Row], key: str) -> tuple[float, float, int] | None:
    seen = [value for value in column(rows, key) if value is not None]
    if not seen:
        return None
    count = min(ENDS, max(1, len(seen) // 2))
    return sum(seen[:count]) / count, sum(seen[-count:]) / count, count


def _reward_tile(rows: list[Row]) -> Row:
    first, last, count = _ends(rows, "reward/total/mean") or (0.0, 0.0, 0)
    detail = f"{last - first:+.3g} from the first {count} steps to the last {count}"
    smooth = running_mean(column(rows, "reward/total/mean"), smoothing(rows))
    values = [value for value in smooth if value is not None]
    return {"label": "Reward", "value": show(last), "before": show(first), "detail": detail, "spark": _spark(values)}


def _ends_tile(name: str, rows: list[Row], key: str, unit: str) -> Row | None:
    ends = _ends(rows, key)
    if not ends:
        return None
    first, last, _ = ends
    return {"label": name, "value": show(last), "unit": unit, "detail": f"was {show(first)} at the start"}


def _steps_tile(stages: dict[str, list[Row]]) -> Row:
    detail = ", ".join(f"{name} {len(rows)}" for name, rows in stages.items())
    return {"label": "Steps", "value": f"{sum(map(len, stages.values())):,}", "detail": detail}


def _time_tile(rows: list[Row]) -> Row | None:
    seconds = [value for value in column(rows, "time/step/seconds") if value is not None]
    if not seconds:
        return None
    mean = sum(seconds) / len(seconds)
    return {"label": "Wall time", "value": duration(sum(seconds)), "detail": f"in steps; {mean:.3g} s a step"}


def _speed_tile(rows: list[Row]) -> Row | None:
    ends = _ends(rows, "time/tokens/per_second")
    if not ends:
        return None
    return {"label": "Speed", "value": show(ends[1]), "unit": "tokens/s", "detail": f"last {ends[2]} steps"}


def _spark(values: list[int | float]) -> Row:
    """Return the paths of a small curve and of the area under it."""
    low, high = min(values), max(values)
    span, last = (high - low) or 1, max(1, len(values) - 1)
    points = [
        f"{SPARK_WIDTH * place / last:.1f},{SPARK_HEIGHT - 4 - (SPARK_HEIGHT - 8) * (value - low) / span:.1f}"
        for place, value in enumerate(values)
    ]
    line = "M" + " L".join(points)
    return {"line": line, "area": f"{line} V{SPARK_HEIGHT} H0 Z", "box": f"0 0 {SPARK_WIDTH} {SPARK_HEIGHT}"}


def _nested(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value)
    return isinstance(value, list) and any(isinstance(x, (dict, list)) for x in value)


def _paths(value: Any, path: str) -> list[tuple[str, str]]:
    if not _nested(value):
        return [(path, _show(value))]
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    dot = "." if path else ""
    return [entry for key, inner in pairs for entry in _paths(inner, f"{path}{dot}{key}")]


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
