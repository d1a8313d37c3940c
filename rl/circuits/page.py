"""The circuits of a run as a table, and as a page."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rl.attention import Head
from rl.circuits.edges import say
from rl.circuits.emergence import cohorts, first_seen, frequency
from rl.circuits.study import Study
from rl.emergence import FEWEST
from rl.report.curves import Figure, card, label, layout, line
from rl.report.sheet import Section, render_sheet

HEADS = ("checkpoint", "reward", "heads", "newly active", "retained of the base", "new since the last", "edges")
STRONGEST = 25
BANDS = 8  # cohorts that are drawn apart; more are drawn together by their neighbours
PALE = 0.15  # of a map's colours are left out, which could be taken for an empty cell
INKS = ("$orange", "$blue", "$green", "$pink")


def rows_of(study: Study) -> list[list[str]]:
    """Return the table of checkpoints."""
    rows = []
    for circuit, change in zip(study.circuits, [None, *study.changes], strict=True):
        reward = circuit.snapshot.reward
        counts = ["-", "-", "-"]
        if change is not None:
            counts = [str(len(heads)) for heads in (change.newly_active, change.retained, change.fresh)]
        said = "-" if reward is None else f"{reward:.3f}"
        rows.append([circuit.snapshot.name, said, str(len(circuit.heads)), *counts, str(len(circuit.edges))])
    return rows


def say_spearman(study: Study) -> str:
    """Return the rank correlation in words, or why there is none."""
    found, rewarded = study.spearman, sum(one.snapshot.reward is not None for one in study.circuits)
    if found is not None:
        return f"Spearman of newly active heads and reward, over {rewarded} checkpoints: {found:+.2f}"
    why = (
        "one of them is the same everywhere" if rewarded >= FEWEST else f"{FEWEST} checkpoints with a reward are needed"
    )
    return f"no Spearman of newly active heads and reward: {why}"


def render(name: str, facts: Sequence[tuple[str, str]], study: Study) -> str:
    """Return the page as text."""
    last, said = study.circuits[-1], say_spearman(study)
    sections = [
        Section(
            "emergence",
            "Emergence",
            "A head is in a checkpoint's circuit if any of its kept edges starts or ends in it. "
            f"{said[0].upper()}{said[1:]}.",
            cards=[_over_checkpoints(study), _first_map(study), _frequency_map(study)],
        ),
        Section(
            "edges",
            f"Strongest edges of {last.snapshot.name}",
            "Shares are of all |scores| of the circuit. Keys and values are read by every query head of their group.",
            ("edge", "score", "share"),
            _edge_rows(study),
        ),
        Section(
            "checkpoints",
            "Checkpoints",
            "Newly active heads are in no kept edge of the base; reward is the mean of the steps since the one before.",
            HEADS,
            rows_of(study),
        ),
    ]
    return render_sheet(f"Circuits of {name}", facts, sections)


def _edge_rows(study: Study) -> list[list[str]]:
    last = study.circuits[-1]
    total = sum(abs(edge.score) for edge in last.edges)
    return [
        [say(last.found.graph, edge), f"{edge.score:+.4g}", f"{100 * abs(edge.score) / total:.1f} %"]
        for edge in last.edges[:STRONGEST]
    ]


def _over_checkpoints(study: Study) -> Figure:
    """Draw cohorts as stacked bands, below the reward."""
    names = [one.snapshot.name for one in study.circuits]
    base, *others = [one.heads for one in study.circuits]
    found = cohorts(base, others)
    traces: list[dict[str, Any]] = []
    for places, ink in _bands(study, [place for place in found if place]):
        heights = [sum(found[place][at] for place in places) for at in range(len(names))]
        words = names[places[0]] if len(places) == 1 else f"{names[places[0]]} to {names[places[-1]]}"
        traces.append(_band(f"since {words}", names, heights, ink))
    traces.insert(0, _band("of the base", names, found.get(0, [0] * len(names)), "$muted/0.45"))
    rewards = [one.snapshot.reward for one in study.circuits]
    rewarded = any(reward is not None for reward in rewards)
    if rewarded:
        told = {"mode": "lines+markers", "yaxis": "y2", "showlegend": False, "hovertemplate": "%{y:.3f}"}
        traces.append(line("reward", names, rewards, "$ink", **told))
    shape = layout("heads in the circuit", height=460)
    axis = {"type": "category", "title": {"text": "checkpoint", "standoff": 6}, "nticks": 12, "tickangle": -30}
    shape["xaxis"] = {**shape["xaxis"], **axis, "unifiedhovertitle": {"text": "%{x}"}}
    if rewarded:
        shape["yaxis2"] = {
            **shape["yaxis"],
            "title": {"text": "reward", "standoff": 8},
            "domain": [0.74, 1],
            "nticks": 4,
        }
        shape["yaxis"] = {**shape["yaxis"], "domain": [0, 0.68]}
    note = "Heads in the circuit by the checkpoint that they were first in"
    note += ", below the mean reward of the steps since the checkpoint before." if rewarded else "."
    return card("Cohorts", note, {"data": traces, "layout": shape}, wide=True)


def _band(name: str, x: list[str], y: list[int], ink: str) -> dict[str, Any]:
    look = {"line": {"width": 0.5, "color": ink}, "fillcolor": ink, "hovertemplate": "%{y}"}
    return {"type": "scatter", "mode": "lines", "stackgroup": "heads", "name": label(name), "x": x, "y": y, **look}


def _bands(study: Study, places: list[int]) -> list[tuple[list[int], str]]:
    """Return cohorts that are drawn as one, neighbours of a stage, with inks that grow stronger within a stage."""
    stages = list(dict.fromkeys(one.snapshot.stage for one in study.circuits[1:]))
    out = []
    for number, stage in enumerate(stages):
        own = [place for place in places if study.circuits[place].snapshot.stage == stage]
        count = min(len(own), max(1, BANDS // len(stages)))
        cuts = [round(at * len(own) / count) for at in range(count + 1)] if count else []
        for at, (start, stop) in enumerate(itertools.pairwise(cuts)):
            out.append((own[start:stop], f"{INKS[number % len(INKS)]}/{0.9 - 0.65 * at / max(1, count - 1):.2f}"))
    return out


def _first_map(study: Study) -> Figure:
    names = [one.snapshot.name for one in study.circuits]
    base, *others = [one.heads for one in study.circuits]
    most = max(1, len(names) - 1)
    scale = {"zmin": -PALE * most, "zmax": most}
    ticks = sorted({round(at * (len(names) - 1) / 5) for at in range(6)})
    bar = {"tickvals": ticks, "ticktext": [label(names[at]) for at in ticks]}
    title, note = "First emergence", "The first checkpoint whose circuit has the head; empty where none has."
    return card(title, note, _map(study, first_seen(base, others), lambda place: names[int(place)], scale, bar))


def _frequency_map(study: Study) -> Figure:
    shares = {head: 100 * share for head, share in frequency([one.heads for one in study.circuits[1:]]).items()}
    bar = {"title": {"text": "percent of checkpoints", "side": "right"}, "tickvals": [0, 25, 50, 75, 100]}
    note = "How many of the checkpoints have the head in their circuit, without the base."
    figure = _map(study, shares, lambda share: f"{share:.0f} %", {"zmin": -100 * PALE, "zmax": 100}, bar)
    return card("Activation frequency", note, figure)


def _map(
    study: Study, values: Mapping[Head, float], say_value: Callable[[float], str], scale: Figure, bar: Figure
) -> Figure:
    """Draw a number for every layer and head."""
    graph = study.circuits[0].found.graph
    layers, heads = list(range(graph.num_layers)), list(range(graph.num_heads))
    z = [[values.get((layer, head)) for head in heads] for layer in layers]
    text = [["in none" if value is None else say_value(value) for value in row] for row in z]
    trace = {
        "type": "heatmap",
        "x": heads,
        "y": layers,
        "z": z,
        "text": text,
        "xgap": 1.5,
        "ygap": 1.5,
        **scale,
        "colorscale": [[0, "$mapfrom"], [0.5, "$mapmid"], [1, "$mapto"]],
        "colorbar": {"thickness": 10, "outlinewidth": 0, **bar},
        "hoverongaps": False,
        "hovertemplate": "head %{y}.%{x}<br>%{text}<extra></extra>",
    }
    axis = {"type": "category", "showgrid": False, "ticks": "", "automargin": True, "fixedrange": True}
    shape = layout(hovermode="closest", height=max(280, min(640, 15 * len(layers) + 90)))
    shape["xaxis"] = {**axis, "title": {"text": "head", "standoff": 6}, "tickangle": 0}
    shape["yaxis"] = {**axis, "title": {"text": "layer", "standoff": 6}}
    return {"data": [trace], "layout": shape}
