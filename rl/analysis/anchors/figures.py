"""Figures of a trace's anchors: arcs between sentences, the matrix of effects, heads, and attention received."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rl.analysis.anchors.receivers import Receivers
from rl.analysis.anchors.suppression import Matrix
from rl.report.curves import Figure, card, label, layout

ARC_POINTS, ARC_KINDS = 24, 4  # points of an arc; strengths that arcs are drawn in
FEW = 24  # sentences whose numbers all stand at an axis
SHOWN_CHARACTERS = 160  # of a sentence, where it is pointed at
DIVERGING = [[0, "$blue"], [0.5, "$surface"], [1, "$orange"]]
RISING = [[0, "$mapfrom"], [0.5, "$mapmid"], [1, "$mapto"]]


@dataclass(frozen=True)
class Sentences:
    """Hold the sentences that are drawn: their texts, importance, attention received, and who hangs on them most."""

    texts: Sequence[str]
    importance: Sequence[float | None]
    received: Sequence[float | None]
    dependents: Sequence[Sequence[int]]

    @property
    def shades(self) -> list[float]:
        """Return importance on a scale of 0 to 1; 0 where there is none."""
        known = [value for value in self.importance if value is not None]
        low, high = min(known, default=0.0), max(known, default=0.0)
        return [0.0 if value is None or high <= low else (value - low) / (high - low) for value in self.importance]

    def shown(self, place: int) -> str:
        """Return a sentence as a label, in short lines."""
        text = textwrap.shorten(self.texts[place], SHOWN_CHARACTERS, placeholder=" ...")
        return "<br>".join(label(line) for line in [f"{place + 1}", *textwrap.wrap(text, 56)])


def arcs(sentences: Sentences, matrix: Matrix) -> Figure:
    """Draw each sentence as a dot, and an arc from it to each of those that hang on it most, the stronger the wider."""
    pairs = [(source, later) for source, own in enumerate(sentences.dependents) for later in own]
    strengths = {pair: float(matrix[pair[1]][pair[0]] or 0.0) for pair in pairs}
    most = max(strengths.values(), default=0.0) or 1.0
    traces: list[Figure] = []
    for kind in range(1, ARC_KINDS + 1):
        own = [pair for pair, value in strengths.items() if _kind(value, most) == kind]
        x, y = _bows(own)
        look = {"color": f"$blue/{0.12 + 0.18 * kind:.2f}", "width": 0.6 + 0.7 * kind}
        traces.append({"type": "scatter", "mode": "lines", "x": x, "y": y, "line": look, "hoverinfo": "skip"})
    marker = {
        "size": [9 + 15 * shade for shade in sentences.shades],
        "color": list(sentences.shades),
        "colorscale": [[0, "$neither"], [1, "$orange"]],
        "cmin": 0,
        "cmax": 1,
        "line": {"color": "$ink", "width": 1},
    }
    numbers = list(range(1, len(sentences.texts) + 1))
    said = {
        "text": [sentences.shown(place) for place in range(len(numbers))],
        "hovertemplate": "%{text}<extra></extra>",
    }
    dots = {"type": "scatter", "mode": "markers", "x": numbers, "y": [0] * len(numbers), "marker": marker, **said}
    shape = layout(height=400, hovermode="closest", showlegend=False)
    shape["xaxis"] = {
        **shape["xaxis"],
        "title": {"text": "sentence", "standoff": 6},
        "range": [0.3, len(numbers) + 0.7],
    }
    height = max((later - source for source, later in pairs), default=1) / 2
    shape["yaxis"] = {**shape["yaxis"], "visible": False, "range": [-0.09 * height, 1.04 * height], "fixedrange": True}
    note = "Arcs lead from a sentence to those that hang on it most; large and orange is what is shaded above."
    return card("Sentence graph", note, {"data": [*traces, dots], "layout": shape}, wide=True)


def heat_map(sentences: Sentences, matrix: Matrix) -> Figure:
    """Draw the effect of every sentence on every later one."""
    numbers = list(range(1, len(matrix) + 1))
    bar = {"thickness": 10, "outlinewidth": 0, "title": {"text": "log KL, less the row's mean", "side": "right"}}
    cells = {
        "type": "heatmap",
        "x": numbers,
        "y": numbers,
        "z": [[None if value is None else round(value, 3) for value in row] for row in matrix],
        "zmid": 0,
        "colorscale": DIVERGING,
        "colorbar": bar,
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "%{x} hidden: sentence %{y} moves by %{z:+.2f}<extra></extra>",
        "hoverongaps": False,
    }
    shape = _square(layout(height=520, hovermode="closest"), "hidden sentence", "sentence that moves")
    note = "Orange: the sentence below is moved more by this one than by the others before it."
    return card("Suppression matrix", note, {"data": [cells], "layout": shape}, wide=True)


def head_map(receivers: Receivers) -> Figure:
    """Draw the score of every head, and a frame around the receiver heads."""
    layers = sorted({layer for layer, _ in receivers.scores})
    heads = sorted({head for _, head in receivers.scores})
    scores: list[list[Any]] = [[_rounded(receivers.scores.get((layer, head))) for head in heads] for layer in layers]
    bar = {"thickness": 10, "outlinewidth": 0, "title": {"text": "kurtosis", "side": "right"}}
    told = {"hovertemplate": "layer %{y}, head %{x}<br>kurtosis %{z:.2f}<extra></extra>"}
    cells = {"type": "heatmap", "x": heads, "y": layers, "z": scores, "colorscale": RISING, "colorbar": bar, **told}
    look = {"symbol": "circle", "size": 7, "color": "$orange", "line": {"color": "$surface", "width": 1}}
    chosen = {
        "type": "scatter",
        "mode": "markers",
        "x": [head for _, head in receivers.heads],
        "y": [layer for layer, _ in receivers.heads],
        "marker": look,
        "hoverinfo": "skip",
    }
    height = max(300, min(720, 120 + 20 * len(layers)))
    shape = _square(layout(height=height, hovermode="closest"), "head", "layer", downward=False)
    shape["showlegend"] = False
    note = f"Every head's score; dots mark the {len(receivers.heads)} receiver heads."
    return card("Layer by head", note, {"data": [{**cells, "xgap": 1, "ygap": 1}, chosen], "layout": shape})


def bars(sentences: Sentences) -> Figure:
    """Draw the attention that sentences get from the receiver heads."""
    known = [(place, value) for place, value in enumerate(sentences.received) if value is not None]
    trace = {
        "type": "bar",
        "x": [place + 1 for place, _ in known],
        "y": [100 * value for _, value in known],
        "marker": {"color": "$blue/0.75"},
        "text": [sentences.shown(place) for place, _ in known],
        "textposition": "none",
        "hovertemplate": "%{y:.2f} %<br>%{text}<extra></extra>",
    }
    shape = layout("percent a token", height=300, hovermode="closest", showlegend=False)
    shape["xaxis"] = {**shape["xaxis"], "title": {"text": "sentence", "standoff": 6}, "tickformat": "d"}
    if len(sentences.received) <= FEW:
        shape["xaxis"]["dtick"] = 1
    note = "Mean attention of a token of a sentence at least 4 later to a token of this one, over the receiver heads."
    return card("Attention received", note, {"data": [trace], "layout": shape})


def _kind(value: float, most: float) -> int:
    return max(1, min(ARC_KINDS, 1 + int(ARC_KINDS * value / most * 0.999)))


def _bows(pairs: Sequence[tuple[int, int]]) -> tuple[list[float | None], list[float | None]]:
    """Return the points of arcs as one broken line: parabolas as high as they are wide."""
    x: list[float | None] = []
    y: list[float | None] = []
    for source, later in pairs:
        for step in range(ARC_POINTS + 1):
            share = step / ARC_POINTS
            x.append(round(source + 1 + (later - source) * share, 3))
            y.append(round(2 * (later - source) * share * (1 - share), 3))
        x.append(None)
        y.append(None)
    return x, y


def _square(shape: Figure, x_title: str, y_title: str, *, downward: bool = True) -> Figure:
    """Give a layout axes of whole numbers, the first at the top or, where not downward, at the foot."""
    axis = {"showgrid": False, "zeroline": False, "tickformat": "d", "showline": False}
    shape["xaxis"] = {**shape["xaxis"], **axis, "title": {"text": x_title, "standoff": 6}}
    shape["yaxis"] = {**shape["yaxis"], **axis, "title": {"text": y_title, "standoff": 8}}
    if downward:
        shape["yaxis"]["autorange"] = "reversed"
    return shape


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
