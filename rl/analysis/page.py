"""The echo analysis as a table, and as a page."""

from collections.abc import Sequence
from typing import Any

from rl.analysis.echo import Measured
from rl.analysis.summary import FIGURES, LayerMass, Summary
from rl.intervals import Interval
from rl.report.curves import Figure, card, layout, line
from rl.report.sheet import Section, render_sheet

HEADS = ("with an echo", "all", "right", "wrong", "right less wrong")
SPAN_NOTES = {
    "opening": "Attention of the tokens behind the opening to it: the echo, or neutral words of as many tokens.",
    "question": "Attention of the same tokens to the question in the prompt.",
}


def rows_of(summary: Summary) -> list[list[str]]:
    """Return the table of quantities, each with its interval, by outcome."""
    return [
        [words, *(_shown(one, name) for one in (found.every, found.right, found.wrong, found.difference))]
        for name, (words, _) in FIGURES.items()
        if (found := summary.figures[name]).every is not None
    ]


def regression_rows(summary: Summary) -> list[list[str]]:
    """Return the table of the regression; empty where there is none."""
    if isinstance(summary.regression, str):
        return []
    units = {"likelihood gap": "nats", "length of the echo": "tokens"}
    return [
        [
            f"{name} (deviation {effect.deviation:.3g} {units[name]})",
            f"{effect.log_odds:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}]",
            f"{effect.p_value:.3g}",
        ]
        for name, effect in summary.regression.items()
    ]


def attention_rows(summary: Summary, span: str) -> list[list[str]]:
    """Return the table of attention by layer, in percent."""
    return [
        [f"layer {layer}", *(_percent(one) for one in (mass.echo, mass.control, mass.difference))]
        for layer, mass in summary.attention[span].items()
    ]


def render(title: str, facts: Sequence[tuple[str, str]], summary: Summary, found: Sequence[Measured]) -> str:
    """Return the page as text."""
    regression = summary.regression
    sections = [
        Section(
            "gaps",
            "Gaps",
            "What the echo does to the log-prob of a token: of the whole trace (likelihood gap), and of what follows "
            "the echo (suffix gap). Brackets are 95 % intervals over questions.",
            HEADS,
            rows_of(summary),
            [one for one in (_histogram(found, "gap"), _histogram(found, "suffix_gap")) if one],
        ),
        Section(
            "regression",
            "Right or wrong",
            f"No regression: {regression}."
            if isinstance(regression, str)
            else "Logistic regression: change of the log-odds of a right answer for one standard deviation.",
            ("predictor", "log-odds", "p") if not isinstance(regression, str) else (),
            regression_rows(summary),
        ),
        Section(
            "attention",
            "Refocusing",
            "Mean over heads and tokens, in percent of all attention; bands are 95 % intervals over questions."
            if summary.attention["opening"]
            else "No trace has an echo with something behind it.",
            cards=[_by_layer(span, layers) for span, layers in summary.attention.items() if layers],
        ),
    ]
    return render_sheet(title, facts, sections)


def _shown(value: Interval | None, name: str) -> str:
    if value is None:
        return "-"
    digits = 1 if name in ("echo", "length") else 3
    ends = "" if value.low is None or value.high is None else f" [{value.low:.{digits}f}, {value.high:.{digits}f}]"
    return f"{value.mean:.{digits}f}{ends}"


def _percent(value: Interval) -> str:
    ends = "" if value.low is None or value.high is None else f" [{100 * value.low:.2f}, {100 * value.high:.2f}]"
    return f"{100 * value.mean:.2f}{ends}"


def _ends(value: Interval) -> tuple[float, float]:
    low, high = (value.mean if end is None else end for end in (value.low, value.high))
    return 100 * low, 100 * high


def _histogram(found: Sequence[Measured], name: str) -> Figure | None:
    words, read = FIGURES[name]
    kinds = (("right", True, "$blue"), ("wrong", False, "$orange"), ("unjudged", None, "$muted"))
    traces: list[dict[str, Any]] = []
    for label, outcome, ink in kinds:
        own = [one for one in found if one.num_echo_tokens and one.correct is outcome]
        values = [value for one in own if (value := read(one)) is not None]
        if values:
            look = {"marker": {"color": f"{ink}/0.55", "line": {"color": ink, "width": 1}}, "nbinsx": 40}
            told = {"hovertemplate": f"%{{y}} {label}<extra></extra>"}
            traces.append({"type": "histogram", "x": values, "name": label, **look, **told})
    if not traces:
        return None
    shape = layout("traces", barmode="overlay", hovermode="closest")
    shape["xaxis"] = {**shape["xaxis"], "title": {"text": "nats a token", "standoff": 6}}
    title = words.partition(",")[0]
    return card(title[0].upper() + title[1:], "Traces with an echo.", {"data": traces, "layout": shape})


def _by_layer(span: str, layers: dict[int, LayerMass]) -> Figure:
    numbers = list(layers)
    traces: list[dict[str, Any]] = []
    for name, ink in (("echo", "$blue"), ("control", "$orange")):
        values: list[Interval] = [getattr(mass, name) for mass in layers.values()]
        edges = [_ends(one) for one in values]
        band = {"type": "scatter", "mode": "none", "fill": "toself", "fillcolor": f"{ink}/0.16", "hoverinfo": "skip"}
        around = [high for _, high in edges] + [low for low, _ in reversed(edges)]
        traces.append({**band, "x": numbers + numbers[::-1], "y": around, "showlegend": False})
        told = {"hovertemplate": "%{y:.2f} %"}
        shown = "behind the echo" if name == "echo" else "behind neutral words as long"
        traces.append(line(shown, numbers, [100 * one.mean for one in values], ink, mode="lines+markers", **told))
    shape = layout("percent of attention", height=320)
    axis = {"title": {"text": "layer", "standoff": 6}, "unifiedhovertitle": {"text": "layer %{x}"}, "dtick": 1}
    shape["xaxis"] = {**shape["xaxis"], **axis} if len(numbers) <= 16 else {**shape["xaxis"], **axis, "dtick": None}
    return card(f"To the {span}", SPAN_NOTES[span], {"data": traces, "layout": shape})
