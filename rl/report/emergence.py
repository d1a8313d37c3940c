"""Draw how heads come and go: turnover under the reward, and cohorts."""

import math

from rl.emergence import Member, members
from rl.report.curves import Figure, card, layout, line
from rl.report.heads import is_whole, numbers
from rl.report.rundata import Row, number

INKS = ("$muted", "$blue", "$orange", "$green", "$pink", "$blue/0.5", "$orange/0.5", "$green/0.5", "$pink/0.5")
TURNOVER, DRIFTED, REWARD = "heads/turnover/share", "heads/drifted/share", "reward/total/mean"
HEIGHT = 380


def head_cards(rows: list[Row], metrics: list[Row]) -> list[Figure]:
    """Return the figures of rows of heads.jsonl and metrics.jsonl, those that there is anything for."""
    return [one for one in (_turnover(metrics), _cohorts(rows)) if one is not None]


def _turnover(metrics: list[Row]) -> Figure | None:
    turnover, drifted, reward = (_told(metrics, key) for key in (TURNOVER, DRIFTED, REWARD))
    if not turnover[0]:
        return None
    data = [
        line("turnover", *turnover, "$orange", mode="lines+markers"),
        line("drifted", *drifted, "$muted", dash="dot"),
    ]
    shape = layout("share of heads", height=HEIGHT)
    shape["yaxis"] = {**shape["yaxis"], "rangemode": "tozero"}
    if reward[0]:
        data.append({**line("reward", *reward, "$blue", width=1.4), "yaxis": "y2"})
        shape["yaxis2"] = {**shape["yaxis"], "domain": [0.56, 1], "title": {"text": "reward", "standoff": 8}}
        shape["yaxis"]["domain"] = [0, 0.44]
    shape["xaxis"] = {**shape["xaxis"], "title": {"text": "step of the run", "standoff": 6}, "anchor": "y"}
    note = "Of the heads that two snapshots find of some kind, the share that only one of them does, below the reward."
    return card("Turnover", note, {"data": data, "layout": shape})


def _told(metrics: list[Row], key: str) -> tuple[list[int], list[float]]:
    """Return the steps of the run that have a metric, and its values there."""
    pairs = [(place, value) for place, row in enumerate(metrics, 1) if (value := number(row.get(key))) is not None]
    return [place for place, _ in pairs], [value for _, value in pairs]


def _cohorts(rows: list[Row]) -> Figure | None:
    """Draw how many heads are of some kind at each snapshot, by the snapshot that first had them."""
    snapshots = _members(rows)
    if len(snapshots) < 2:
        return None
    first: dict[Member, int] = {}
    for place, (_, own) in enumerate(snapshots):
        for member in own:
            first.setdefault(member, place)
    names = [name for name, _ in snapshots]
    data: list[Figure] = []
    for (low, high), ink in zip(_grouped(len(snapshots)), INKS, strict=False):
        counts = [sum(low <= first[member] < high for member in own) for _, own in snapshots]
        if any(counts):
            told = names[low] if high == low + 1 else f"{names[low]} to {names[high - 1]}"
            bar = {"type": "bar", "x": names, "y": counts, "marker": {"color": ink}, "hovertemplate": "%{y}"}
            data.append({**bar, "name": told if low else "at the base"})
    shape = layout("heads of a kind", height=HEIGHT, barmode="stack", bargap=0.18)
    axis = {"type": "category", "title": {"text": ""}, "unifiedhovertitle": {"text": "%{x}"}, "nticks": 8}
    shape["xaxis"] = {**shape["xaxis"], **axis}
    note = "Heads that are of some kind at each snapshot, coloured by the snapshot that first had them so."
    return card("Cohorts", note, {"data": data, "layout": shape})


def _members(rows: list[Row]) -> list[tuple[str, frozenset[Member]]]:
    """Return each snapshot of the probe set with its members, in order."""
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    for row in rows:
        if is_whole(row) and row["source"] == "probe":
            scores = found.setdefault(f"{row.get('stage', '')} step {row['step']}", {})
            scores.setdefault(row["score"], {})[row["layer"]] = numbers(row["values"])
    return [(name, members(scores)) for name, scores in found.items()]


def _grouped(count: int) -> list[tuple[int, int]]:
    """Return the base alone, and the later snapshots in at most eight runs of neighbours."""
    size = math.ceil((count - 1) / (len(INKS) - 1))
    return [(0, 1), *((low, min(low + size, count)) for low in range(1, count, size))]
