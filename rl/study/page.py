"""A study as a page and as Markdown: the table, the tests, what differs, and the runs laid over each other."""

import json
from collections.abc import Sequence

from rl.comparison import page as comparison
from rl.comparison.summary import REWARD
from rl.intervals import Interval, told
from rl.report.curves import Figure, card, layout
from rl.report.markdown import markdown_table
from rl.report.rundata import read_samples
from rl.report.sheet import Section
from rl.study.outcomes import Outcomes, Test
from rl.study.plan import Plan
from rl.study.weighed import most_weighed

Rows = list[list[str]]
Table = tuple[list[str], Rows]
MOST_NAMED = 8  # of the runs that have not finished


def table_of(found: Outcomes, plan: Plan) -> Table:
    """Return the heads and rows of the table of arms."""
    own = [f"{_named(metric)}, {which}" for metric in plan.study.outcomes for which in (_last(plan), _ALL)]
    rows = []
    for one in found.means:
        shown = [
            told(value, _digits(metric))
            for metric, outcome in one.outcomes.items()
            for value in (outcome.final, outcome.mean)
        ]
        shown += [told(one.accuracy), told(one.length, 1), told(one.entropy)]
        name = f"{one.arm} (control)" if one.arm in plan.study.against else one.arm
        rows.append([name, str(len(one.seeds)), *shown])
    return ["arm", "seeds", *own, "accuracy", "length", "entropy"], rows


def tests_table(tests: Sequence[Test], plan: Plan) -> Table:
    """Return the heads and rows of the table of paired tests."""
    heads = ["arm against control", "mean of", "pairs", "difference", "p", "p, corrected", "seeds needed"]
    rows = [
        [
            f"{one.arm} - {one.control}",
            f"{_named(one.metric)}, {_last(plan) if one.final else _ALL}",
            str(one.paired.difference.count),
            told(one.paired.difference, _digits(one.metric)),
            _p(one.paired.p),
            _p(one.corrected),
            _needed(one),
        ]
        for one in tests
    ]
    return heads, rows


def diagnostics_table(found: Outcomes) -> Table:
    """Return the heads and rows of the table of what credit did: mean weight, share picked out, tokens weighed most.

    No rows where no arm weighed anything.
    """
    rows, weighed = [], False
    for one, arm in zip(found.means, found.arms, strict=True):
        most = most_weighed([row for run in arm.runs for row in read_samples(run.path)])
        named = ", ".join(f"{_shown(token.token)} {token.weight:.2f}" for token in most)
        rows.append([one.arm, told(one.weight), told(one.selected), named or "-"])
        weighed = weighed or bool(one.weight or one.selected or most)
    return ["arm", "mean weight", "share picked out", "tokens with the highest mean weight"], rows if weighed else []


def markdown(found: Outcomes, plan: Plan, credit: Table) -> str:
    """Return the whole as Markdown; `credit` is the table of what credit did."""
    parts = [f"# Study {plan.study.name}", _about(found, plan), markdown_table(*table_of(found, plan))]
    if found.tests:
        parts += ["## Differences, paired by seed", _TESTS, markdown_table(*tests_table(found.tests, plan))]
    parts += ["## What credit did", markdown_table(*credit)] if credit[1] else []
    parts += ["## What the arms differ in", markdown_table(*_settings(found))]
    return "\n\n".join(parts) + "\n"


def render(found: Outcomes, plan: Plan, credit: Table) -> str:
    """Return the page as text; `credit` is the table of what credit did."""
    cards = [one for metric in plan.study.outcomes if (one := _forest(metric, found.tests))]
    first = [Section("arms", "Arms", _about(found, plan), *table_of(found, plan))]
    if found.tests:
        first.append(Section("tests", "Differences, paired by seed", _TESTS, *tests_table(found.tests, plan), cards))
    first += [Section("credit", "What credit did", _CREDIT, *credit)] if credit[1] else []
    return comparison.render([plan.stage], found.arms, f"Study {plan.study.name}", first)


_ALL = "all steps"
_TESTS = (
    "Runs of one seed have the same tasks, the same start and the same seed, and are a pair. Brackets are 95 % t "
    "intervals of the mean difference; p is of the two-sided paired t test, corrected by Holm over the tests of one "
    "mean. Seeds needed: how many would see the difference that the study says matters with a power of 0.8 at that "
    "correction, from the spread of the differences."
)
_CREDIT = "Means over all steps; tokens are of the rollouts that the runs kept, seen at least twenty times."


def _about(found: Outcomes, plan: Plan) -> str:
    steps = sorted({plan.steps_of(run) for run in plan.runs})
    count = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    text = (
        f"{plan.study.recipe}, stage {plan.stage}, {count} steps; seeds "
        f"{', '.join(map(str, plan.study.seeds))}. Accuracy, length and entropy are of the "
        f"{_last(plan)}. Brackets are 95 % t intervals over seeds; there are none where all seeds agree."
    )
    if found.alarmed:
        text += f" Stopped by an alarm, and counted with the steps that they have: {', '.join(found.alarmed)}."
    if found.silent:
        text += f" Stopped by an alarm before stage {plan.stage}, and in no mean: {', '.join(found.silent)}."
    if len(found.missing) > MOST_NAMED:
        return f"{text} Not finished yet: {len(found.missing)} of {len(plan.runs)} runs."
    return f"{text} Not finished yet: {', '.join(found.missing)}." if found.missing else text


def _settings(found: Outcomes) -> Table:
    return ["setting", *(arm.name for arm in found.arms)], comparison.settings_rows(found.arms)


def _forest(metric: str, tests: Sequence[Test]) -> Figure | None:
    """Return a card of the differences in a metric over the last steps, with their intervals."""
    own = [one for one in tests if one.final and one.metric == metric]
    shown = [one for one in own if one.paired.difference.low is not None][::-1]
    if not shown:
        return None
    means = [one.paired.difference.mean for one in shown]
    halves = [_half(one.paired.difference) for one in shown]
    names = [f"{one.arm} - {one.control}" for one in shown]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": means,
        "y": names,
        "error_x": {"type": "data", "array": halves, "color": "$blue", "thickness": 2},
        "marker": {"color": "$blue", "size": 9},
        "customdata": [told(one.paired.difference, _digits(metric)) for one in shown],
        "hovertemplate": "%{y}: %{customdata}<extra></extra>",
    }
    shape = layout("", height=max(270, 90 + 30 * len(shown)), hovermode="closest", showlegend=False)
    shape["xaxis"] = {
        **shape["xaxis"],
        "title": {"text": f"difference of {_named(metric)}"},
        "zeroline": True,
        "zerolinecolor": "$muted",
    }
    shape["yaxis"] = {**shape["yaxis"], "nticks": len(shown), "type": "category"}
    return card(
        f"Differences of {_named(metric)} over the last steps",
        "Means with 95 % t intervals. Where one crosses 0, there may be no difference.",
        {"data": [trace], "layout": shape},
        wide=True,
    )


def _half(value: Interval) -> float:
    return 0.0 if value.high is None else value.high - value.mean


def _needed(test: Test) -> str:
    if not test.paired.deviation:
        return "-"
    count = "more than 10,000" if test.needed is None else str(test.needed)
    return f"{count} to see {test.notable:g}"


def _named(metric: str) -> str:
    return "reward" if metric == REWARD else metric


def _last(plan: Plan) -> str:
    return f"last {plan.study.last} steps"


def _digits(metric: str) -> int:
    return 1 if "length" in metric else 3


def _p(value: float | None) -> str:
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _shown(token: str) -> str:
    return json.dumps(token, ensure_ascii=False)
