"""An evaluation as tables, and as Markdown."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rl.evaluation.evaluation import Evaluation, Found
from rl.evaluation.results import Results
from rl.intervals import Interval, told
from rl.report.markdown import markdown_table, plain

SHARED = ("samples", "max_tokens", "temperature", "seed", "batch", "engine")
OWN = {"model": "policy", "system": "system prompt", "effort": "asked for", "again": "reminder", "weights": "weights"}
LONGEST, DIGEST = 60, 12  # characters of a setting, and of a digest
NOTE = (
    "Brackets are 95 % intervals over tasks: by bootstrap, or, where all tasks are alike, Wilson's for a share and "
    "none for a mean."
)
PAIRED = "Each arm less {first}, paired: both sides are drawn by the same tasks."


class Column(NamedTuple):
    """Name a quantity: its head, its key in the differences, with how many decimals, and where results have it."""

    head: str
    key: str
    digits: int
    read: Callable[[Results], Interval | None]


class Sheet(NamedTuple):
    """Hold one table with its title and what is said of it."""

    title: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def columns_of(evaluation: Evaluation) -> list[Column]:
    """Return the quantities that any arm has."""
    results = [one.results for one in evaluation.arms]
    samples = evaluation.shared["samples"]
    passes = [k for k in results[0].passes if k > 1]
    parts = dict.fromkeys(name for one in results for name in one.parts)
    columns = [
        Column(f"right (avg@{samples}, pass@1)" if samples > 1 else "right", "accuracy", 3, lambda one: one.accuracy),
        *(Column(f"pass@{k}", f"pass@{k}", 3, lambda one, k=k: one.passes.get(k)) for k in passes),
        Column("tokens", "tokens", 1, lambda one: one.tokens),
        Column("reasoning", "reasoning_tokens", 1, lambda one: one.reasoning_tokens),
        Column("cut off", "cut", 3, lambda one: one.cut),
        *(Column(f"reward {name}", f"parts.{name}", 3, lambda one, n=name: one.parts.get(n)) for name in parts),
    ]
    return [one for one in columns if any(one.read(own) is not None for own in results)]


def sheets_of(evaluation: Evaluation) -> list[Sheet]:
    """Return all tables of an evaluation that have rows."""
    found = [
        _results(evaluation),
        _differences(evaluation),
        *_deceptions(evaluation),
        _trends(evaluation),
        _arms(evaluation),
        _settings(evaluation),
    ]
    return [one for one in found if one.rows]


def markdown(evaluation: Evaluation) -> str:
    """Return the tables as Markdown."""
    parts = [f"# {plain(evaluation.suite)}"]
    for one in sheets_of(evaluation):
        parts += [f"## {one.title}", one.note, markdown_table(one.heads, one.rows)]
    return "\n\n".join(parts) + "\n"


def _results(evaluation: Evaluation) -> Sheet:
    columns = columns_of(evaluation)
    first = evaluation.arms[0].results
    unjudged = sum(one.results.unjudged for one in evaluation.arms) if any(c.key == "accuracy" for c in columns) else 0
    counts = f"{first.answers} answer{'s'[: first.answers > 1]} to {first.tasks} task{'s'[: first.tasks > 1]}"
    counts += " by each arm. " if len(evaluation.arms) > 1 else ". "
    missing = f" {unjudged} answers could not be judged." if unjudged else ""
    rows = [[one.arm.name, *(told(c.read(one.results), c.digits) for c in columns)] for one in evaluation.arms]
    return Sheet("Results", counts + NOTE + missing, ("arm", *(c.head for c in columns)), rows)


def _differences(evaluation: Evaluation) -> Sheet:
    first, *others = evaluation.arms
    columns = [(c.head, c.key, c.digits) for c in columns_of(evaluation)]
    columns += [("deceived", "deceived", 3)] if first.deception else []
    rows = [
        [one.arm.name, *(told(one.differences.get(key), digits, "+") for _, key, digits in columns)] for one in others
    ]
    note = PAIRED.format(first=first.arm.name)
    return Sheet("Differences", note, ("arm", *(head for head, _, _ in columns)), rows)


def _deceptions(evaluation: Evaluation) -> list[Sheet]:
    judged = [(one, one.deception) for one in evaluation.arms if one.deception is not None]
    if not judged:
        return []
    metric = judged[0][1].metric
    note = f"{metric} of the answers that could be parsed and judged. Judge: {evaluation.judge}. {NOTE}"
    rows = [
        [
            one.arm.name,
            told(own.overall.value),
            *map(str, (own.overall.counted, own.overall.unparsed, own.overall.unjudged)),
        ]
        for one, own in judged
    ]
    found = [Sheet("Deception", note, ("arm", metric, "counted", "unparsed", "unjudged"), rows)]
    for name in judged[0][1].by:
        values = dict.fromkeys(value for _, own in judged for value in own.by[name])
        rows = [[value, *(_share(one, name, value) for one, _ in judged)] for value in values]
        found.append(Sheet(f"By {name}", f"{metric} by {name}.", (name, *(one.arm.name for one, _ in judged)), rows))
    return found


def _share(one: Found, name: str, value: str) -> str:
    share = one.deception.by[name].get(value) if one.deception else None
    return "-" if share is None else f"{told(share.value)} of {share.counted}"


def _trends(evaluation: Evaluation) -> Sheet:
    rows = [
        [
            f"{line}: {one.what}",
            *(("-", one.note) if one.p_value is None else (f"{one.statistic:.1f}", f"{one.p_value:.3g}")),
            str(one.values),
            str(one.tasks),
        ]
        for line, own in evaluation.trends.items()
        for one in own
    ]
    note = (
        "Does it rise with what is asked for? Page's trend test, one-sided, over the tasks' means; a small p says yes."
    )
    return Sheet("Monotone", note, ("quantity", "L", "p", "values", "tasks"), rows)


def _arms(evaluation: Evaluation) -> Sheet:
    rows = [[one.arm.name, *(_setting(one.settings.get(name)) for name in OWN)] for one in evaluation.arms]
    return Sheet("Arms", "What is an arm's own.", ("arm", *OWN.values()), rows)


def _settings(evaluation: Evaluation) -> Sheet:
    shared = evaluation.shared
    rows = [[name.replace("_", " "), str(shared[name])] for name in SHARED]
    rows.append(["tasks (SHA-256)", shared["tasks"][:DIGEST]])
    return Sheet("Settings", "Tasks and decoding, which are the same for all arms.", ("setting", "value"), rows)


def _setting(value: object) -> str:
    text = "-" if value is None else str(value.get("what")) if isinstance(value, dict) else str(value)
    if len(text) == 64 and text.isalnum():
        return text[:DIGEST]
    return text if len(text) <= LONGEST else "..." + text[3 - LONGEST :]
