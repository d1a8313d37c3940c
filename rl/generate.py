"""Ask a policy questions; and remind it of the question half-way, within the same budget (arXiv 2602.06600)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rl.data import Task
from rl.echo.openings import Neutral
from rl.effort import CLOSING, reasoning_length
from rl.models import ModelError
from rl.policy import Policy, Write, Written

REMINDER = "\nLet me read the question again: {question}\n"
"""What goes between the two halves of a reasoning; the paper gives no words [ours]."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold a question, what the policy wrote, how long that is, in tokens, and whether it was cut off.

    A completion begins with the <think> that a chat template writes for it, which is not counted. Of its tokens,
    `num_reminder_tokens` are no words of its own but the reminder's.
    """

    question: str
    completion: str
    num_tokens: int
    num_reasoning_tokens: int
    num_reminder_tokens: int = 0
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """Say what is put between the two halves of a reasoning: the `question`, `neutral` words of as many tokens, or
    `nothing`, so that it goes on unasked.

    `first` is the most tokens of the first half; None: half of the budget, or what the reminder leaves.
    """

    what: Literal["question", "neutral", "nothing"]
    first: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Hold a task in tokens, the tokens of its reminder, how many may be written in all, and in the first half."""

    task: Task
    start: list[int]
    reminder: list[int]
    room: int
    first: int


def ask(policy: Policy, task: Task, max_tokens: int, again: Again | None = None) -> Asked:
    """Return a task as it is put to a policy. Raises ModelError where it, or its reminder, does not fit."""
    start = policy.ids(policy.prompt(task))
    room = policy.room(start, max_tokens, task.source)
    if again is None:
        return Asked(task, start, [], room, 0)
    reminder = _reminder(policy, task.question, again)
    left = room - len(reminder) - 1
    first = min(room // 2, left) if again.first is None else again.first
    if not 1 <= first <= left:
        words = "leaves nothing for a first half" if left < 1 else f"leaves {left} for a first half, not {first}"
        raise ModelError(
            f"{task.source}: of a budget of {room} tokens, a reminder of {len(reminder)} {words}; raise --max-tokens"
        )
    return Asked(task, start, reminder, room, first)


def replies(
    policy: Policy,
    asked: Sequence[Asked],
    *,
    temperature: float,
    again: Again | None = None,
    write: Write | None = None,
) -> list[Reply]:
    """Answer tasks as one batch, each within its room; `write` takes the place of the policy's own.

    With `again`, the reasoning is broken off at its end, or after the tokens of the first half; the reminder follows in
    its place, and then what the policy goes on with, in the tokens that are left. Without, it writes as it likes in the
    same budget: the plain continuation.
    """
    write = write or policy.write
    halves: list[list[int]] = [[] for _ in asked]
    if again is not None:
        chains = write([one.start for one in asked], [one.first for one in asked], temperature, reasoning=True)
        halves = [_open(policy, chain) + one.reminder for chain, one in zip(chains, asked, strict=True)]
    begun = [one.start + half for one, half in zip(asked, halves, strict=True)]
    left = [one.room - len(half) for one, half in zip(asked, halves, strict=True)]
    rests = write(begun, left, temperature)
    return [
        _reply(policy, one, half + rest.ids, rest.cut) for one, half, rest in zip(asked, halves, rests, strict=True)
    ]


def _reply(policy: Policy, one: Asked, ids: list[int], cut: bool) -> Reply:
    reasoned = reasoning_length(policy.tokenizer, ids)
    return Reply(one.task.question, policy.opening + policy.text(ids), len(ids), reasoned, len(one.reminder), cut)


def _reminder(policy: Policy, question: str, again: Again) -> list[int]:
    """Return the tokens between the halves: those of the neutral words are as many as those of the question's."""
    if again.what == "nothing":
        return []
    ids = policy.ids(REMINDER.format(question=question))
    if again.what == "question":
        return ids
    neutral = Neutral(lambda text: len(policy.ids(text))).of(max(1, len(ids) - 2))
    *told, end = policy.ids(f"\n{neutral}\n")
    dots = policy.ids(" .")[-1:] * max(0, len(ids) - 1 - len(told))
    return [*told[: len(ids) - 1], *dots, end]


def _open(policy: Policy, chain: Written) -> list[int]:
    """Return a chain without its closing tag and what follows: the reasoning goes on."""
    text = policy.text(chain.ids)
    if CLOSING not in text:
        return chain.ids
    before = text.index(CLOSING)
    low, high = 0, len(chain.ids)
    while low < high:  # the most tokens that end before the tag
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(policy.text(chain.ids[:middle])) <= before else (low, middle - 1)
    return chain.ids[:low]
