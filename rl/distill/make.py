"""Make the data that a recipe's distill section describes: ask, verify, edit, verify again, write."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards.sentences import words
from rl.data import Task, prompt
from rl.distill.calls import Calls, Group, Teacher
from rl.distill.card import write_card
from rl.distill.leaks import HeldOut
from rl.distill.sets import Sets, digest
from rl.distill.versions import Verifier, template_opening
from rl.endpoint import Request

INSTRUCTION = """\
Below is a question. Restate it in your own words in one or two sentences, as somebody would who begins to think about \
it: say what is given and what is asked for, with all numbers. Do not solve it, and write nothing else.

Question: {question}"""
"""What a teacher is asked that writes the echo itself [ours]."""
TRACES, OPENINGS = "traces.jsonl", "openings.jsonl"


@dataclass(frozen=True)
class Plan:
    """Hold what is asked and kept. `teacher` is its name, with its revision; `by_teacher`: it writes the openings."""

    tasks: Sequence[Task]
    system: str | None
    held_out: HeldOut
    traces: int
    keep: int
    temperature: float
    seed: int
    patience: int
    by_teacher: bool
    teacher: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Hold a prompt: its task, and the name that its calls go by, which changes with its words."""

    index: int
    task: Task
    name: str

    def key(self, number: int) -> str:
        """Return the name of a call."""
        return f"{self.name}:{number}"


def make(
    plan: Plan,
    teacher: Teacher,
    verifier: Verifier,
    folder: Path,
    facts: dict[str, Any],
    begin: Callable[[str, int, int], None],
    tell: Callable[[], None],
) -> Sets:
    """Make the three sets in folder, from where an earlier attempt left off, and return what was written.

    `begin` hears of a phase with how much it is and how much was done before, `tell` of each thing done. Raises
    DistillError where the teacher fails for good, and RewardError.
    """
    asked, refused = _split(plan)
    traces = Calls(folder / TRACES)
    total = len(asked) * plan.traces
    begin("traces", total, sum(one.key(number) in traces for one in asked for number in range(plan.traces)))
    traces.make(teacher, _trace_requests(plan, asked), plan.patience, tell)
    openings = Calls(folder / OPENINGS)
    if plan.by_teacher:
        wanting = [one for one in asked if _wants_opening(plan, one, traces, verifier)]
        begin("openings", len(wanting), sum(one.key(0) in openings for one in wanting))
        openings.make(teacher, _opening_requests(plan, wanting), plan.patience, tell)
    begin("sets", len(asked), 0)
    with Sets(folder, plan.teacher, plan.temperature) as sets:
        for one, reason in refused:
            sets.drop(one.task, one.name, reason)
        for one in asked:
            _add(plan, one, traces, openings, verifier, sets, teacher.together)
            tell()
    calls = {"traces answered": len(traces), "traces failed": len(traces.failed)}
    calls |= {"openings answered": len(openings), "openings failed": len(openings.failed)} if plan.by_teacher else {}
    write_card(folder, sets, {**facts, "prompts": len(plan.tasks), "prompts asked": len(asked)}, calls)
    return sets


def _split(plan: Plan) -> tuple[list[Prompt], list[tuple[Prompt, str]]]:
    """Return the prompts that are asked, and those that are not with the reason."""
    asked, refused = [], []
    seen: set[bytes] = set()
    for index, task in enumerate(plan.tasks):
        one = Prompt(index, task, f"{index}-{digest(task.question)[:8]}")
        said = hashlib.sha256("\0".join(words(task.question)).encode("utf-8", "surrogatepass")).digest()
        if said in seen:
            refused.append((one, "the same question"))
        elif plan.held_out.leaks(task.question):
            refused.append((one, "held out"))
        else:
            asked.append(one)
        seen.add(said)
    return asked, refused


def _seed(plan: Plan, one: Prompt, number: int) -> int:
    """Return the seed of a trace; those of a question that are drawn together all come of the first one's."""
    return (plan.seed * 1_000_003 + one.index * plan.traces + number) % 2**31


def _trace_requests(plan: Plan, asked: Sequence[Prompt]) -> Iterator[Group]:
    for one in asked:
        messages = prompt(one.task, plan.system)
        yield [
            (one.key(number), Request(messages, plan.temperature, _seed(plan, one, number)))
            for number in range(plan.traces)
        ]


def _wants_opening(plan: Plan, one: Prompt, traces: Calls, verifier: Verifier) -> bool:
    """Say whether any trace of a prompt is of use and has no echo of its own."""
    found = (traces.get(one.key(number)) for number in range(plan.traces))
    return any(
        trace is not None
        and verifier.trace_fault(one.task, trace) is None
        and not verifier.has_echo(one.task, trace.text)
        for trace in found
    )


def _opening_requests(plan: Plan, wanting: Sequence[Prompt]) -> Iterator[Group]:
    for one in wanting:
        asked = INSTRUCTION.format(question=one.task.question)
        yield [(one.key(0), Request([{"role": "user", "content": asked}], plan.temperature, _seed(plan, one, 0)))]


def _add(
    plan: Plan, one: Prompt, traces: Calls, openings: Calls, verifier: Verifier, sets: Sets, together: bool
) -> None:
    """Add the first traces of a prompt that hold, and say of the others why they do not."""
    opening = template_opening(one.task)
    if plan.by_teacher:
        written = openings.get(one.key(0))
        opening = "" if written is None or written.cut else " ".join(written.text.split())
    kept = 0
    seen: set[str] = set()
    for number in range(plan.traces):
        key, trace = one.key(number), traces.get(one.key(number))
        if trace is None:
            sets.drop(one.task, key, "the call failed", traces.failed.get(key, ""))
            continue
        reason = verifier.trace_fault(one.task, trace)
        reason = reason or ("the same trace" if trace.text in seen else None)
        reason = reason or ("more than distill.keep" if kept >= plan.keep else None)
        seen.add(trace.text)
        versions = reason or verifier.versions(one.task, trace.text, opening)
        if isinstance(versions, str):
            sets.drop(one.task, key, versions)
        else:
            sets.add(one.task, key, _seed(plan, one, 0 if together else number), trace.text, versions)
            kept += 1
