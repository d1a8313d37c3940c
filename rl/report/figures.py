"""Gather the page's plotly figures: the curves of every stage and the two maps of the heads."""

import math
from collections.abc import Callable

from rl.report.curves import Figure, label, layout, series, stage_figures
from rl.report.rundata import Row, number

__all__ = ["distance_map", "head_steps", "layout", "membership_map", "series", "stage_figures"]

KINDS = ("neither", "local", "global", "local and global")
KIND_INKS = ("$neither", "$blue", "$orange", "$ink")
TICKS = tuple(digit * 10**power for power in range(6) for digit in (1, 1.5, 2, 3, 5, 7))
FEW_CELLS = 64  # so many cells have room for their numbers
Cells = dict[tuple[int, int], dict[str, float]]
Shade = tuple[float | None, str]


def head_steps(rows: list[Row]) -> dict[str, Cells]:
    """Return the scores by snapshot, then by layer and head; a snapshot is a stage and step."""
    steps: dict[str, Cells] = {}
    for row in rows:
        layer, head, value = number(row.get("layer")), number(row.get("head")), number(row.get("value"))
        if layer is None or head is None or value is None:
            continue
        name = f"{row.get('stage', '')} step {row.get('step', '?')}"
        cell = steps.setdefault(name, {}).setdefault((int(layer), int(head)), {})
        cell[str(row.get("score"))] = value
    return steps


def distance_map(steps: dict[str, Cells]) -> Figure | None:
    """Draw each head's mean backward distance, one frame for each snapshot, on one scale for all of them."""
    seen = [cell["distance"] for cells in steps.values() for cell in cells.values() if "distance" in cell]
    if not seen:
        return None
    # A few heads reach a hundred times as far as the others: on a straight scale all but those look alike.
    ticks = [tick for tick in TICKS if min(seen) <= tick <= max(seen)] or [min(seen)]
    ticks = ticks[:: len(ticks) // 8 + 1]
    few = max(len(cells) for cells in steps.values()) <= FEW_CELLS
    bar = {"thickness": 10, "outlinewidth": 0, "title": {"text": "tokens back", "side": "right"}}
    look = {
        "zmin": _log(min(seen)),
        "zmax": _log(max(seen)) if max(seen) > min(seen) else _log(max(seen)) + 1,
        "texttemplate": "%{text}" if few else "",
        "colorscale": [[0, "$mapfrom"], [0.5, "$mapmid"], [1, "$mapto"]],
        "colorbar": {**bar, "tickvals": [_log(tick) for tick in ticks], "ticktext": [f"{tick:,.3g}" for tick in ticks]},
        "hovertemplate": "layer %{y}, head %{x}<br>%{text} tokens back<extra></extra>",
    }
    return _map(steps, _reach, look)


def membership_map(steps: dict[str, Cells]) -> Figure | None:
    """Draw which heads are local, global or neither, one frame for each snapshot."""
    scores = {score for cells in steps.values() for cell in cells.values() for score in cell}
    if not scores & {"local", "global"}:
        return None
    edges = [(place / len(KINDS), (place + 1) / len(KINDS)) for place in range(len(KINDS))]
    scale = [[edge, ink] for ends, ink in zip(edges, KIND_INKS, strict=True) for edge in ends]
    look = {
        "zmin": -0.5,
        "zmax": len(KINDS) - 0.5,
        "colorscale": scale,
        "showscale": False,
        "hovertemplate": "layer %{y}, head %{x}<br>%{text}<extra></extra>",
    }
    return _map(steps, _kind, look)


def _log(distance: float) -> float:
    return round(math.log10(1 + max(0, distance)), 4)


def _reach(cell: dict[str, float]) -> Shade:
    return (_log(cell["distance"]), f"{cell['distance']:.3g}") if "distance" in cell else (None, "")


def _kind(cell: dict[str, float]) -> Shade:
    if "local" not in cell and "global" not in cell:
        return None, ""
    kind = int(cell.get("local", 0) > 0) + 2 * int(cell.get("global", 0) > 0)
    return kind, KINDS[kind]


def _map(steps: dict[str, Cells], read: Callable[[dict[str, float]], Shade], look: Figure) -> Figure:
    places = sorted({place for cells in steps.values() for place in cells})
    layers = sorted({layer for layer, _ in places})
    heads = sorted({head for _, head in places})
    frames = []
    for name, cells in steps.items():
        lines = [[read(cells.get((layer, head), {})) for head in heads] for layer in layers]
        z = [[value for value, _ in line] for line in lines]
        text = [[words for _, words in line] for line in lines]
        frames.append({"name": label(name), "data": [{"type": "heatmap", "z": z, "text": text}]})
    trace = {"type": "heatmap", "x": heads, "y": layers, "xgap": 1.5, "ygap": 1.5, **look, **frames[-1]["data"][0]}
    axis = {"type": "category", "showgrid": False, "ticks": "", "automargin": True, "fixedrange": True}
    shape = layout(
        hovermode="closest",
        height=max(280, min(640, 15 * len(layers) + 90)),
        xaxis={**axis, "title": {"text": "head", "standoff": 6}, "tickangle": 0},
        yaxis={**axis, "title": {"text": "layer", "standoff": 6}},
    )
    return {"data": [trace], "layout": shape, "frames": frames}
