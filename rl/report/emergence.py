"""Draw how heads come and go: turnover under the reward, and cohorts."""

from collections.abc import Sequence

from rl.emergence import Member, cohort, members
from rl.report.curves import Figure, card, label, layout, line
from rl.report.heads import Measured
from rl.report.rundata import Row, number

INKS = ("$muted", "$blue", "$orange", "$green", "$pink", "$blue/0.5", "$orange/0.5", "$green/0.5", "$pink/0.5")
TURNOVER, DRIFTED, REWARD = "heads/turnover/share", "heads/drifted/share", "reward/total/mean"
HEIGHT = 380


def head_cards(snapshots: Sequence[Measured], metrics: list[Row]) -> list[Figure]:
    """Return the figures of the probe set's snapshots and of metrics, those that there is anything for."""
    return [one for one in (_turnover(metrics), _cohorts(snapshots)) if one is not None]


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


def _cohorts(snapshots: Sequence[Measured]) -> Figure | None:
    """Draw how many heads are of some kind at each snapshot, by the cohort of the snapshot that first had them."""
    if len(snapshots) < 2:
        return None
    names, every = [one.name for one in snapshots], [members(one.scores) for one in snapshots]
    first: dict[Member, int] = {}
    for place, own in enumerate(every):
        for member in own:
            first.setdefault(member, place)
    data: list[Figure] = []
    for order in sorted({cohort(place) for place in first.values()}):
        counts = [sum(cohort(first[member]) == order for member in own) for own in every]
        low, high = (1 << order) >> 1, min(len(names), 1 << order) - 1
        told = names[low] if high == low else f"{names[low]} to {names[high]}"
        ink = INKS[order % len(INKS)]
        bar = {"type": "bar", "x": names, "y": counts, "marker": {"color": ink}, "hovertemplate": "%{y}"}
        data.append({**bar, "name": label(told if low else "at the base")})
    shape = layout("heads of a kind", height=HEIGHT, barmode="stack", bargap=0.18)
    axis = {"type": "category", "title": {"text": ""}, "unifiedhovertitle": {"text": "%{x}"}, "nticks": 8}
    shape["xaxis"] = {**shape["xaxis"], **axis}
    note = "Heads that are of some kind at each snapshot, coloured by the snapshots that first had them so."
    return card("Cohorts", note, {"data": data, "layout": shape})
