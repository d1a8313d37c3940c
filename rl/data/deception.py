"""Scenarios in which a lie pays: a dozen of our own, and the user's copies of two benchmarks.

Both benchmarks are called DeceptionBench; neither is shipped.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rl.data.task import DataError, Task
from rl.recipe.faults import suggestion

Rows = Iterable[tuple[str, Mapping[str, Any]]]
CATEGORIES = ("strategic_deception", "sycophancy", "honesty_evasion", "sandbagging", "alignment_faking")
AUDITS = {
    "safe": (
        "The reply {reply} is what the reasoning holds for true.",
        "The reasoning believes {reply} and says {reply}.",
    ),
    "unsafe": (
        "The reasoning believes {belief} but replies {reply}.",
        "The reply {reply} hides what the reasoning knows: {belief}.",
    ),
}


def scenarios(categories: Collection[str] | None, worked: bool) -> list[Task]:
    """Return our own scenarios, or the worked completions of each as tasks: honest and deceptive ones by turns.

    The gold answer is the reply that the setting rewards, which is a lie; the facts are `category` and `honest`, the
    true one. Raises DataError for an unknown category.
    """
    for category in categories or ():
        if category not in CATEGORIES:
            raise DataError(f"data.categories: there is no category {category!r}{suggestion(category, CATEGORIES)}")
    rows = json.loads(Path(__file__).with_name("scenarios.json").read_text(encoding="utf-8"))
    rows = [row for row in rows if categories is None or row["category"] in categories]
    if not worked:
        return [_scenario(row, None, "") for row in rows]
    traces = [_traces(row) for row in rows]
    return [
        _scenario(row, trace, f"#{number}")
        for number, turn in enumerate(zip(*traces, strict=True), 1)
        for row, trace in zip(rows, turn, strict=True)
    ]


def _scenario(row: Mapping[str, Any], completion: str | None, suffix: str) -> Task:
    facts = {"category": row["category"], "honest": row["honest"]}
    return Task(f"scenarios:{row['id']}{suffix}", row["question"], row["answer"], completion, row["system"], facts)


def _traces(row: Mapping[str, Any]) -> list[str]:
    """Write every pair of a reasoning and an audit as the four parts, honest and deceptive by turns."""
    belief = row["honest"]
    honest, lie = (
        [
            f"<think>{reasoning}</think><monitor>{audit.format(reply=reply, belief=belief)}</monitor>"
            f"<label>{label}</label><output>{reply}</output>"
            for reasoning in row[kind]
            for audit in AUDITS[label]
        ]
        for kind, label, reply in (
            ("honest_reasoning", "safe", row["honest"]),
            ("deceptive_reasoning", "unsafe", row["answer"]),
        )
    )
    return [trace for pair in zip(honest, lie, strict=True) for trace in pair]


def deceptionbench_pku(rows: Rows, prompt: str, types: Collection[str] | None) -> list[Task]:
    """Read rows of id, type, inner_prompt, system_prompt and outer_prompt into tasks without gold answers.

    `outer` prompts come with the row's system prompt. Facts: `id`, `type` and `inner_prompt`. Raises DataError.
    """
    known: set[str] = set()
    tasks = []
    for where, row in rows:
        kind = _field(row, "type", where)
        known.add(kind)
        if types is not None and kind not in types:
            continue
        facts = {"id": str(row.get("id", "")), "type": kind, "inner_prompt": _field(row, "inner_prompt", where)}
        system = row.get("system_prompt") if prompt == "outer" else None
        question = _field(row, f"{prompt}_prompt", where)
        tasks.append(Task(where, question, "", None, str(system) if system else None, facts))
    for kind in types or ():
        if kind not in known:
            raise DataError(f"data.types: there is no type {kind!r}{suggestion(kind, known)}")
    return _some(tasks)


def deceptionbench_aries(rows: Rows, prompts: Sequence[str]) -> list[Task]:
    """Read rows with up to six prompts each, as columns or under `prompts`, into tasks without gold answers.

    Facts: `id`, `topic`, `dimension`, `prompt` (which of them), `question`, `groundtruth` and `goal`. Raises DataError.
    """
    tasks = []
    for where, outer in rows:
        inner = outer.get("prompts")
        row = {**outer, **inner} if isinstance(inner, Mapping) else outer
        named = {name: _field(row, name, where) for name in ("topic", "dimension", "question", "groundtruth", "goal")}
        facts = {"id": str(row.get("id", "")), **named}
        for prompt in prompts:
            question = _field(row, prompt, where)
            tasks.append(Task(f"{where}: {prompt}", question, "", None, None, {**facts, "prompt": prompt}))
    return _some(tasks)


def _some(tasks: list[Task]) -> list[Task]:
    if not tasks:
        raise DataError("data: holds no rows; a run needs at least one task")
    return tasks


def _field(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str | int | float) or not str(value).strip():
        there = ", ".join(row) or "none"
        raise DataError(f"{where}: has no {name}; columns there: {there}")
    return str(value)
