"""Draw the training curves as plotly figures: pure functions of metric rows.

Colours are names such as "$blue" or "$blue/0.3"; the page resolves them against its style sheet, so a
figure has no theme of its own.
"""

import re
from html import escape
from typing import Any

from rl.report.rundata import Row, by_stage, column, number

Figure = dict[str, Any]
INKS = ("$blue", "$orange", "$green", "$pink", "$ink")  # of arms
PART_INKS = ("$orange", "$green", "$pink", "$muted")
PART_DASHES = ("solid", "dash", "dot", "dashdot")
FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif"
CLEAR = "rgba(0,0,0,0)"


def label(text: object) -> str:
    """Return text that plotly, which reads tags in its labels, shows literally."""
    return escape(str(text), quote=False)


def layout(y_title: str = "", **extra: Any) -> Figure:
    """Return the layout every figure starts from."""
    axis = {"gridcolor": "$grid", "linecolor": "$line", "zeroline": False, "automargin": True, "fixedrange": False}
    # A negative thickness is how plotly draws the guide without its outline.
    spike = {
        "unifiedhovertitle": {"text": "step %{x}"},
        "spikecolor": "$muted",
        "spikedash": "solid",
        "spikethickness": -1,
    }
    base: Figure = {
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"family": FONT, "size": 12, "color": "$muted"},
        "margin": {"l": 44, "r": 12, "t": 26, "b": 36},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "$surface", "bordercolor": "$line", "font": {"color": "$ink", "size": 12}},
        "modebar": {"bgcolor": CLEAR, "color": "$muted/0.6", "activecolor": "$ink"},
        "legend": {"orientation": "h", "traceorder": "normal", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {**axis, "title": {"text": "step", "standoff": 6}, "showgrid": False, **spike},
        "yaxis": {**axis, "title": {"text": y_title, "standoff": 8}, "nticks": 6},
    }
    return {**base, **extra}


def running_mean(values: list[int | float | None], window: int) -> list[float | None]:
    """Return the mean over the last window values, leaving out the absent ones."""
    means: list[float | None] = []
    for end in range(1, len(values) + 1):
        seen = [value for value in values[max(0, end - window) : end] if value is not None]
        means.append(number(sum(seen) / len(seen)) if seen else None)
    return means


def stage_figures(rows: list[Row]) -> list[Figure]:
    """Return the cards of one stage: title, note, whether wide, and the figure; only what was recorded."""
    rewarded = _has(rows, "reward/total/mean")
    makers = (
        (_reward, _length, _entropy, _credit, _critic, _trust, _effort, _monitor)
        if rewarded
        else (_loss, _accuracy, _entropy)
    )
    return [card for make in makers if (card := make(rows)) is not None]


def series(rows: list[Row]) -> dict[str, dict[str, list[int | float | None]]]:
    """Return every recorded number by stage and key, for the page's own picker."""
    out: dict[str, dict[str, list[int | float | None]]] = {}
    for stage, own in by_stage(rows).items():
        keys = sorted({key for row in own for key in row} - {"stage", "step"})
        columns = {key: column(own, key) for key in keys}
        told = {key: values for key, values in columns.items() if any(value is not None for value in values)}
        if told:
            out[stage] = {"step": column(own, "step"), **told}
    return out


def _has(rows: list[Row], key: str) -> bool:
    return any(number(row.get(key)) is not None for row in rows)


def smoothing(rows: list[Row]) -> int:
    """Return how many steps a running mean of these rows covers."""
    return max(3, min(25, len(rows) // 10))


def card(title: str, note: str, figure: Figure, wide: bool = False) -> Figure:
    return {"title": title, "note": note, "wide": wide, "figure": figure}


def line(name: str, x: list[Any], y: list[Any], ink: str, **extra: Any) -> Figure:
    style = {"color": ink, "width": extra.pop("width", 2), "dash": extra.pop("dash", "solid")}
    mode = "lines+markers" if len(x) < 3 else "lines"
    trace = {"type": "scatter", "mode": mode, "name": label(name), "x": x, "y": y, "line": style}
    return {**trace, "hovertemplate": "%{y:.4~g}", **extra}


def _smoothed(rows: list[Row], key: str, name: str, ink: str, **extra: Any) -> list[Figure]:
    x, y, window = column(rows, "step"), column(rows, key), smoothing(rows)
    # One entry in the legend and one in the hover: the name stands at the mean, the value is the step's own.
    raw = line(name, x, y, f"{ink}/0.32", width=1.2, legendgroup=name, showlegend=False)
    strong = line(name, x, running_mean(y, window), ink, width=2.4, hoverinfo="skip", legendgroup=name, **extra)
    strong.pop("hovertemplate")
    return [raw, strong]


def _reward(rows: list[Row]) -> Figure:
    traces = _smoothed(rows, "reward/total/mean", "total", "$blue")
    keys = sorted({key for row in rows for key in row if re.fullmatch(r"reward/.+/mean", key)})
    parts = [key for key in keys if key != "reward/total/mean" and _has(rows, key)]
    x, window = column(rows, "step"), smoothing(rows)
    for place, key in enumerate(parts):
        ink, dash = PART_INKS[place % len(PART_INKS)], PART_DASHES[(place + 1) % len(PART_DASHES)]
        name, raw = key.removeprefix("reward/").removesuffix("/mean"), column(rows, key)
        told = {"customdata": raw, "hovertemplate": "%{customdata:.4~g}"}
        traces.append(line(name, x, running_mean(raw, window), ink, width=1.6, dash=dash, **told))
    note = "The total that is optimised, and the mean of each of its parts."
    return card("Reward", note, {"data": traces, "layout": layout("reward")}, wide=True)


def _length(rows: list[Row]) -> Figure | None:
    if not _has(rows, "rollout/length/mean"):
        return None
    x, low = column(rows, "step"), column(rows, "rollout/length/min")
    high = column(rows, "rollout/length/max")
    data = []
    if any(value is not None for value in low) and any(value is not None for value in high):
        data.append(line("shortest", x, low, "$blue/0.35", width=1))
        data.append(line("longest", x, high, "$blue/0.35", width=1, fill="tonexty", fillcolor="$blue/0.13"))
    data += _smoothed(rows, "rollout/length/mean", "mean", "$blue")
    note = "Mean tokens of a completion, within the shortest and longest of the step."
    return card("Completion length", note, {"data": data, "layout": layout("tokens")})


def _entropy(rows: list[Row]) -> Figure | None:
    note = "Mean entropy of the policy's next-token distribution; a fall to zero means it stopped exploring."
    return _several(rows, "Entropy", note, [("policy/entropy/mean", "entropy", "$green")], "nats")


def _credit(rows: list[Row]) -> Figure | None:
    note = "The mean weight on the advantage, and the share of tokens the credit rule picked out."
    keys = [
        ("credit/weight/mean", "mean weight", "$green"),
        ("credit/selected/share", "selected", "$ink"),
        ("credit/anchor/share", "anchors", "$orange"),
        ("credit/dominated/share", "dominated", "$pink"),
    ]
    return _several(rows, "Credit", note, keys, "weight or share")


def _critic(rows: list[Row]) -> Figure | None:
    note = "Mean value and return of the tokens, and how much of the returns' variance the values explain (1: all)."
    keys = [
        ("critic/value/mean", "value", "$blue"),
        ("critic/return/mean", "return", "$orange"),
        ("critic/explained_variance/mean", "explained variance", "$green"),
    ]
    return _several(rows, "Critic", note, keys, "value or share")


def _trust(rows: list[Row]) -> Figure | None:
    note = "How far the policy moved from its reference; shares of tokens clipped and of completions cut off."
    keys = [
        ("policy/kl/mean", "KL", "$blue"),
        ("policy/clip/share", "clipped", "$orange"),
        ("rollout/truncated/share", "truncated", "$pink"),
    ]
    return _several(rows, "Drift and clipping", note, keys, "KL or share")


def _effort(rows: list[Row]) -> Figure | None:
    note = "Mean tokens by the effort, or the number of tokens, that was asked for."
    found = {key for row in rows for key in row if re.fullmatch(r"effort/length@.+/mean", key)}
    names = {key: key.removeprefix("effort/length@").removesuffix("/mean") for key in found}
    ordered = sorted(names, key=lambda key: float(names[key].partition("-")[0]))
    keys = [
        (key, names[key], PART_INKS[(place + place // len(PART_INKS)) % len(PART_INKS)])
        for place, key in enumerate(ordered)
    ]
    return _several(rows, "Length by effort", note, keys, "tokens")


def _monitor(rows: list[Row]) -> Figure | None:
    note = "Shares of completions: what the monitor finds unsafe, what the policy itself does, where both agree."
    keys = [
        ("monitor/violation/share", "violations", "$pink"),
        ("monitor/own_violation/share", "by its own label", "$orange"),
        ("monitor/agreement/share", "agreement", "$green"),
        ("monitor/unparsed/share", "unparsed", "$ink"),
    ]
    return _several(rows, "Monitor", note, keys, "share")


def _loss(rows: list[Row]) -> Figure | None:
    if not _has(rows, "optimizer/loss/mean"):
        return None
    note = "The mean loss that the optimizer saw."
    data = _smoothed(rows, "optimizer/loss/mean", "loss", "$blue", showlegend=False)
    return card("Loss", note, {"data": data, "layout": layout("loss")})


def _accuracy(rows: list[Row]) -> Figure | None:
    note = "Share of the demonstration's tokens that the model ranks first."
    keys = [("policy/token_accuracy/mean", "accuracy", "$orange")]
    return _several(rows, "Token accuracy", note, keys, "share")


def _several(rows: list[Row], title: str, note: str, keys: list[tuple[str, str, str]], unit: str) -> Figure | None:
    told = [entry for entry in keys if _has(rows, entry[0])]
    if not told:
        return None
    look = {"showlegend": len(told) > 1}
    data = [
        trace
        for place, (key, name, ink) in enumerate(told)
        for trace in _smoothed(rows, key, name, ink, dash=PART_DASHES[place % len(PART_DASHES)], **look)
    ]
    return card(title, note, {"data": data, "layout": layout(unit)})
