"""An evaluation as a page: its tables, and figures of them."""

from collections.abc import Sequence
from typing import Any

from rl.evaluation.evaluation import Evaluation, Found
from rl.evaluation.tables import Sheet, sheets_of
from rl.intervals import Interval, told
from rl.report.curves import INKS, Figure, card, label, layout, line
from rl.report.sheet import Section, render_sheet

SYMBOLS = ("circle", "square", "diamond", "cross", "x")


def render(evaluation: Evaluation) -> str:
    """Return the page as text."""
    shared = evaluation.shared
    facts = [
        ("Arms", str(len(evaluation.arms))),
        ("Tasks", str(evaluation.arms[0].results.tasks)),
        ("Answers to each", str(shared["samples"])),
        ("Temperature", f"{shared['temperature']:g}"),
        ("Longest answer", f"{shared['max_tokens']:,} tokens"),
    ]
    figures = {"Results": _results(evaluation), "Monotone": _sweeps(evaluation), **_deceptions(evaluation)}
    sections = [_section(one, figures.get(one.title, [])) for one in sheets_of(evaluation)]
    return render_sheet(f"Evaluation on {evaluation.suite}", facts, sections)


def _section(sheet: Sheet, cards: Sequence[Figure]) -> Section:
    name = sheet.title.lower().replace(" ", "-")
    return Section(name, sheet.title, sheet.note, sheet.heads, sheet.rows, cards)


def _results(evaluation: Evaluation) -> list[Figure]:
    arms = evaluation.arms
    cards = []
    if any(one.results.accuracy for one in arms):
        cards.append(
            _dots("Right", "Share of answers that are right.", "share", arms, [o.results.accuracy for o in arms])
        )
    if evaluation.shared["samples"] > 1 and any(one.results.accuracy for one in arms):
        cards.append(_passes(arms))
    cards.append(_dots("Length", "Mean tokens of an answer.", "tokens", arms, [one.results.tokens for one in arms]))
    return cards


def _dots(title: str, note: str, unit: str, arms: Sequence[Found], values: Sequence[Interval | None]) -> Figure:
    """Draw one value with its interval for each arm."""
    traces = [
        _dot(label(one.arm.name), [label(one.arm.name)], [value], place) | {"showlegend": False}
        for place, (one, value) in enumerate(zip(arms, values, strict=True))
        if value is not None
    ]
    return card(title, note, {"data": traces, "layout": _shape(unit, "", "category")})


def _passes(arms: Sequence[Found]) -> Figure:
    traces = []
    for place, one in enumerate(arms):
        known = [(k, value) for k, value in one.results.passes.items() if value is not None]
        ks, values = [k for k, _ in known], [value for _, value in known]
        traces.append(_dot(label(one.arm.name), ks, values, place) | {"mode": "lines+markers"})
    shape = _shape("share", "k", "log")
    shape["xaxis"] |= {"tickvals": list(arms[0].results.passes), "ticktext": [str(k) for k in arms[0].results.passes]}
    return card("pass@k", "Chance that one of k answers is right.", {"data": traces, "layout": shape})


def _sweeps(evaluation: Evaluation) -> list[Figure]:
    """Draw accuracy against tokens for every line of arms that differ in what they were asked for."""
    traces: list[dict[str, Any]] = []
    for place, name in enumerate(evaluation.trends):
        own = sorted((one for one in evaluation.arms if one.arm.line == name), key=lambda one: one.arm.asked)
        known = [(one.arm.asked, one.results.tokens, one.results.accuracy) for one in own]
        points = [(asked, tokens, right) for asked, tokens, right in known if tokens and right]
        trace = _dot(label(name), [tokens.mean for _, tokens, _ in points], [right for _, _, right in points], place)
        said = [f"asked for {asked:g}: {told(right)} at {told(tokens, 1)} tokens" for asked, tokens, right in points]
        across = _error([tokens for _, tokens, _ in points], INKS[place % len(INKS)])
        words = {
            "text": [f"{asked:g}" for asked, _, _ in points],
            "textposition": "top right",
            "textfont": {"size": 13},
        }
        look = {"mode": "lines+markers+text", "error_x": across, "customdata": said, "showlegend": True, **words}
        traces.append({**trace, **look, "hovertemplate": "%{customdata}"})
    if not any(trace["x"] for trace in traces):
        return []
    shape = _shape("share right", "mean tokens", "linear")
    shape["hovermode"] = "closest"
    note = "Each point is one value that was asked for, which stands beside it; bars are 95 % intervals over tasks."
    return [card("Accuracy against tokens", note, {"data": traces, "layout": shape}, wide=True)]


def _deceptions(evaluation: Evaluation) -> dict[str, list[Figure]]:
    judged = [one for one in evaluation.arms if one.deception]
    found = {}
    for name in judged[0].deception.by if judged and judged[0].deception else ():
        traces = []
        for place, one in enumerate(judged):
            shares = one.deception.by[name] if one.deception else {}
            known = [(label(value), share.value) for value, share in shares.items() if share.value is not None]
            dots = _dot(label(one.arm.name), [value for value, _ in known], [value for _, value in known], place)
            traces.append({**dots, "showlegend": len(judged) > 1, "offsetgroup": str(place)})
        figure = {"data": traces, "layout": _shape("share", "", "category") | {"scattermode": "group"}}
        found[f"By {name}"] = [card(f"Deception by {name}", "Share of the judged answers.", figure, wide=True)]
    return found


def _dot(name: str, x: Sequence[Any], values: Sequence[Interval], place: int) -> dict[str, Any]:
    ink = INKS[place % len(INKS)]
    marker = {"color": ink, "size": 9, "symbol": SYMBOLS[place // len(INKS) % len(SYMBOLS)]}
    said = {"customdata": [told(one) for one in values], "hovertemplate": "%{customdata}"}
    bars = {"mode": "markers", "marker": marker, "error_y": _error(values, ink), "showlegend": True}
    return {**line(name, list(x), [one.mean for one in values], ink), **bars, **said}


def _error(values: Sequence[Interval], ink: str) -> dict[str, Any]:
    above = [0.0 if one.high is None else one.high - one.mean for one in values]
    below = [0.0 if one.low is None else one.mean - one.low for one in values]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": ink, "thickness": 1.4}


def _shape(unit: str, words: str, kind: str) -> Figure:
    shape = layout(unit, height=320)
    axis = {"type": kind, "title": {"text": words, "standoff": 6}, "unifiedhovertitle": {"text": "%{x}"}}
    shape["xaxis"] = {**shape["xaxis"], **axis}
    return shape
