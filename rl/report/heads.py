"""Pack what heads were for the page: maps by snapshot, cohorts, and where each looks in a text."""

import math
from typing import Any

from rl.emergence import KINDS, members
from rl.report.rundata import Row, number

SNAPSHOT_LIMIT, CELL_LIMIT = 120, 1_500_000
SOURCES = ("probe", "rollouts", "selection")


def pack_heads(rows: list[Row]) -> Row:
    """Return the snapshots by source, evenly thinned where they are too many for a page.

    {layers, heads, sources: {source: [{name, scores: {score: [[value of head] of layer]}}]}}.
    """
    kept = [row for row in rows if is_whole(row)]
    layers = sorted({row["layer"] for row in kept})
    heads = max((len(row["values"]) for row in kept), default=0)
    found: dict[str, dict[str, Row]] = {}
    for row in kept:
        name = f"{row.get('stage', '')} step {row['step']}"
        snapshots = found.setdefault(row["source"], {})
        scores = snapshots.setdefault(name, {"name": name, "scores": {}})["scores"]
        grid = scores.setdefault(row["score"], [[None] * heads for _ in layers])
        grid[layers.index(row["layer"])] = [*map(number, row["values"]), *[None] * (heads - len(row["values"]))]
    sources = {name: _thinned(list(found[name].values()), len(layers) * heads) for name in SOURCES if name in found}
    for snapshots in sources.values():
        for snapshot in snapshots:
            snapshot["kinds"] = _kinds(snapshot["scores"], layers, heads)
    return {"layers": layers, "heads": heads, "sources": sources}


def _kinds(grids: dict[str, list[list[Any]]], layers: list[int], heads: int) -> list[list[list[str]]]:
    """Return for every layer and head of which kinds it is."""
    scores = {
        name: {
            layer: [math.nan if value is None else float(value) for value in row]
            for layer, row in zip(layers, grid, strict=True)
        }
        for name, grid in grids.items()
    }
    own = members(scores)
    return [[[kind for kind in KINDS if (kind, layer, head) in own] for head in range(heads)] for layer in layers]


def is_whole(row: Row) -> bool:
    """Say whether a row of heads.jsonl has what it should."""
    return (
        row.get("source") in SOURCES
        and isinstance(row.get("values"), list)
        and isinstance(row.get("layer"), int)
        and isinstance(row.get("score"), str)
        and number(row.get("step")) is not None
    )


def numbers(values: list[Any]) -> list[float]:
    """Return what a row of scores holds, nan for what is no number."""
    return [math.nan if (found := number(value)) is None else float(found) for value in values]


def _thinned(snapshots: list[Row], cells: int) -> list[Row]:
    """Return evenly spaced snapshots, the last among them, that together have few enough cells."""
    each = cells * max((len(one["scores"]) for one in snapshots), default=1)
    most = max(2, min(SNAPSHOT_LIMIT, CELL_LIMIT // max(each, 1)))
    if len(snapshots) <= most:
        return snapshots
    return [snapshots[round(index * (len(snapshots) - 1) / (most - 1))] for index in range(most)]


def pack_gaze(gaze: Row) -> Row | None:
    """Return where heads look in a text, if the file is whole: tokens, first, and by layer peaks and tops."""
    shapes = {"tokens": list, "first": int, "peaks": dict, "tops": dict}
    if not all(isinstance(gaze.get(name), shape) for name, shape in shapes.items()):
        return None
    kept = {name: gaze[name] for name in shapes} | {"tokens": [str(token) for token in gaze["tokens"]]}
    return {**kept, "name": f"{gaze.get('stage', '')} step {gaze.get('step', '?')}"}
