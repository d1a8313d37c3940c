"""A comparison as a page, and its tables as Markdown."""

from collections.abc import Sequence

from rl.comparison.arms import Arm, differing, shown
from rl.comparison.summary import LAST_STEPS, LEARNING, QUANTITIES, Curve, Figures, Quantity, curve_of, figures_of
from rl.intervals import told
from rl.report.curves import INKS, Figure, card, layout, line
from rl.report.markdown import markdown_table, plain
from rl.report.sheet import Section, render_sheet

HEADS = (
    "arm",
    "runs",
    "steps",
    f"reward, last {LAST_STEPS} steps",
    "reward, all steps",
    f"accuracy, last {LAST_STEPS}",
    f"length, last {LAST_STEPS}",
    f"loss, last {LAST_STEPS}",
    "seconds a step",
)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def table_of(figures: Sequence[Figures]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and rows of the table of arms, without the columns that nobody recorded."""
    rows = [
        [
            one.arm,
            str(one.runs),
            _range(one.steps),
            told(one.last_reward),
            told(one.mean_reward),
            told(one.accuracy),
            told(one.length, 1),
            told(one.loss),
            told(one.seconds, 2),
        ]
        for one in figures
    ]
    kept = [place for place in range(len(HEADS)) if any(row[place] != "-" for row in rows)]
    return [HEADS[place] for place in kept], [[row[place] for place in kept] for row in rows]


def settings_rows(arms: Sequence[Arm]) -> list[list[str]]:
    """Return the table of the settings that arms differ in; empty for one arm."""
    keys = [key for key in differing([arm.settings for arm in arms]) if key != "name"]
    return [[key, *(shown(arm.settings.get(key)) for arm in arms)] for key in keys]


def runs_rows(arms: Sequence[Arm]) -> list[list[str]]:
    """Return the table of which runs each arm has."""
    seeds = [(run.name, str(run.recipe.get("seed", "-")), arm.name, str(run.path)) for arm in arms for run in arm.runs]
    return [[name, arm, seed, path] for name, seed, arm, path in seeds]


def markdown(stages: Sequence[str], arms: Sequence[Arm]) -> str:
    """Return the tables as Markdown."""
    parts = ["# Comparison", "Brackets are 95 % intervals over runs (bootstrap); one run has none."]
    for stage in stages:
        parts += [f"## {plain(stage)}", markdown_table(*table_of(figures_of(arms, stage)))]
    if settings := settings_rows(arms):
        parts += ["## Settings", markdown_table(("setting", *(arm.name for arm in arms)), settings)]
    parts += ["## Runs", markdown_table(("run", "arm", "seed", "folder"), runs_rows(arms))]
    return "\n\n".join(parts) + "\n"


def render(stages: Sequence[str], arms: Sequence[Arm], title: str = "Comparison", first: Sequence[Section] = ()) -> str:
    """Return the page as text; with sections of the caller's own, stages are curves alone."""
    facts = [("Arms", str(len(arms))), ("Runs", str(sum(len(arm.runs) for arm in arms)))]
    sections = [_stage_section(stage, arms, place, not first) for place, stage in enumerate(stages)]
    settings = settings_rows(arms)
    if settings:
        note = "Where the arms' recipes differ. Seeds, and keys of where and how safely a run went, are left out."
        sections.append(Section("settings", "Settings", note, ("setting", *(arm.name for arm in arms)), settings))
    heads = ("run", "arm", "seed", "folder")
    sections.append(Section("runs", "Runs", "What was laid over each other.", heads, runs_rows(arms)))
    return render_sheet(title, facts, [*first, *sections])


def _stage_section(stage: str, arms: Sequence[Arm], place: int, told: bool) -> Section:
    cards = [one for quantity in QUANTITIES if (one := _card(stage, arms, quantity))]
    if not any(one["title"] == "Reward" for one in cards):
        cards += [one for one in [_card(stage, arms, LEARNING)] if one]
    note = (
        "Lines are means over an arm's runs, smoothed run by run; bands and brackets are 95 % intervals over runs, "
        "which one run alone has none of. Runs that are still going count up to where they are."
    )
    table = table_of(figures_of(arms, stage)) if told else ((), ())
    return Section(f"stage-{place}", stage or "steps", note, *table, cards)


def _card(stage: str, arms: Sequence[Arm], quantity: Quantity) -> Figure | None:
    curves = [(place, arm.name, curve_of(arm, stage, quantity)) for place, arm in enumerate(arms) if _has(arm, stage)]
    traces = [
        trace
        for place, name, curve in curves
        if curve is not None
        for trace in _traces(name, curve, place, quantity.digits)
    ]
    if not traces:
        return None
    shape = layout(quantity.unit, height=270 + 18 * len(curves))  # a name may take a line of the legend
    wide = quantity.title == "Reward"
    return card(quantity.title, quantity.note, {"data": traces, "layout": shape}, wide=wide)


def _traces(name: str, curve: Curve, place: int, digits: int) -> list[Figure]:
    """Return a band and, over it, its line, which the legend shows and hides together."""
    ink, dash = INKS[place % len(INKS)], DASHES[place // len(INKS) % len(DASHES)]
    steps, means = list(curve.steps), [one.mean for one in curve.means]
    edges = [(one.low, one.high) for one in curve.means]
    group = f"arm-{place}"
    traces: list[Figure] = []
    if any(low is not None for low, _ in edges):
        lows = [mean if low is None else low for (low, _), mean in zip(edges, means, strict=True)]
        highs = [mean if high is None else high for (_, high), mean in zip(edges, means, strict=True)]
        band = {"type": "scatter", "mode": "none", "fill": "toself", "fillcolor": f"{ink}/0.16", "hoverinfo": "skip"}
        around = {"x": steps + steps[::-1], "y": highs + lows[::-1]}
        traces.append({**band, **around, "legendgroup": group, "showlegend": False, "name": ""})
    said = {"customdata": [told(one, digits) for one in curve.means], "hovertemplate": "%{customdata}"}
    look = {"width": 2.4, "dash": dash, "legendgroup": group, "showlegend": True}
    return [*traces, line(name, steps, means, ink, **look, **said)]


def _has(arm: Arm, stage: str) -> bool:
    return any(stage in run.stages for run in arm.runs)


def _range(steps: tuple[int, int]) -> str:
    return f"{steps[0]:,}" if steps[0] == steps[1] else f"{steps[0]:,} to {steps[1]:,}"
