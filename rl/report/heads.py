"""What heads were, for the page: maps by snapshot, and where each looks in a text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl.emergence import KINDS, Scores, members
from rl.report.rundata import Row, number

SNAPSHOT_LIMIT, CELL_LIMIT = 120, 750_000
SOURCES = ("probe", "rollouts", "selection")


@dataclass(frozen=True)
class Measured:
    """Hold the scores of all heads at a step, its name, and its place among all that were measured."""

    name: str
    place: int
    scores: Scores


def measured(rows: Sequence[Row]) -> dict[str, list[Measured]]:
    """Return what rows of heads.jsonl hold, by source and in order; damaged rows are left out."""
    found: dict[str, dict[str, dict[str, dict[int, list[float]]]]] = {}
    places: dict[str, int] = {}
    for row in rows:
        if _is_whole(row):
            snapshots = found.setdefault(row["source"], {})
            name = f"{row.get('stage', '')} step {row['step']}"
            places.setdefault(name, len(places))
            scores = snapshots.setdefault(name, {})
            values = [math.nan if number(value) is None else float(value) for value in row["values"]]
            scores.setdefault(row["score"], {})[row["layer"]] = values
    return {
        source: [Measured(name, places[name], scores) for name, scores in found[source].items()]
        for source in SOURCES
        if source in found
    }


def _is_whole(row: Row) -> bool:
    """Say whether a row of heads.jsonl has what it should."""
    return (
        row.get("source") in SOURCES
        and isinstance(row.get("values"), list)
        and isinstance(row.get("layer"), int)
        and isinstance(row.get("score"), str)
        and number(row.get("step")) is not None
    )


def pack_heads(sources: Mapping[str, Sequence[Measured]]) -> Row:
    """Return snapshots by source as grids, evenly thinned where they are too many for a page.

    {layers, heads, names, sources: {source: [{name, kinds, scores: {score: [[value of head] of layer]}}]}}.
    """
    every = [layers for own in sources.values() for one in own for layers in one.scores.values()]
    layers = sorted({layer for own in every for layer in own})
    heads = max((len(row) for own in every for row in own.values()), default=0)
    most = CELL_LIMIT // max(len(sources), 1)
    kept = {source: _thinned(own, len(layers) * heads, most) for source, own in sources.items()}
    packed = {source: [_packed(one, layers, heads) for one in own] for source, own in kept.items()}
    places = {one.name: one.place for own in kept.values() for one in own}
    return {"layers": layers, "heads": heads, "names": sorted(places, key=lambda name: places[name]), "sources": packed}


def _packed(one: Measured, layers: Sequence[int], heads: int) -> Row:
    own = members(one.scores)
    kinds = [[[kind for kind in KINDS if (kind, layer, head) in own] for head in range(heads)] for layer in layers]
    grids = {
        score: [[*map(number, rows.get(layer, ())), *[None] * (heads - len(rows.get(layer, ())))] for layer in layers]
        for score, rows in one.scores.items()
    }
    return {"name": one.name, "kinds": kinds, "scores": grids}


def _thinned(snapshots: Sequence[Measured], cells: int, limit: int) -> list[Measured]:
    """Return evenly spaced snapshots, the last among them, that together have few enough cells."""
    each = cells * max((len(one.scores) for one in snapshots), default=1)
    most = max(2, min(SNAPSHOT_LIMIT, limit // max(each, 1)))
    if len(snapshots) <= most:
        return list(snapshots)
    return [snapshots[round(index * (len(snapshots) - 1) / (most - 1))] for index in range(most)]


def pack_gaze(gaze: Row) -> Row | None:
    """Return where heads look in a text, if the file is whole: tokens, first, and by layer peaks and tops."""
    shapes = {"tokens": list, "first": int, "peaks": dict, "tops": dict}
    if not all(isinstance(gaze.get(name), shape) for name, shape in shapes.items()):
        return None
    tokens, grids = [str(token) for token in gaze["tokens"]], {name: _grids(gaze[name]) for name in ("peaks", "tops")}
    if None in grids.values():
        return None
    return {"tokens": tokens, "first": gaze["first"], **grids, "name": f"{gaze.get('stage')} step {gaze.get('step')}"}


def _grids(layers: Mapping[str, Any]) -> dict[str, list[list[float]]] | None:
    """Return a row of numbers for every head of every layer; None where there is anything else."""
    found = {}
    for layer, rows in layers.items():
        if not (isinstance(rows, list) and all(isinstance(row, list) for row in rows)):
            return None
        found[layer] = [[number(value) for value in row] for row in rows]
        if any(value is None for row in found[layer] for value in row):
            return None
    return found
