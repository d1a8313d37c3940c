"""Ask a policy questions; and remind it of the question half-way, within the same budget (arXiv 2602.06600)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rl.data import Task
from rl.echo.openings import Neutral
from rl.effort import CLOSING, reasoning_length
from rl.models import ModelError
from rl.policy import Policy, Written

REMINDER = "\nLet me read the question again: {question}\n"
"""What goes between the two halves of a reasoning; the paper gives no words [ours]."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold a question, what the policy wrote, how long that is, in tokens, and whether it was cut off.

    `num_reminder_tokens` of them are no words of its own, but the reminder's.
    """

    question: str
    completion: str
    num_tokens: int
    num_reasoning_tokens: int
    num_reminder_tokens: int = 0
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """Say what is put between the two halves of a reasoning: the `question`, or `neutral` words of as many tokens.

    `first` is the most tokens of the first half; None: half of the budget.
    """

    what: Literal["question", "neutral"]
    first: int | None = None


def replies(
    policy: Policy, tasks: Sequence[Task], *, max_tokens: int, temperature: float, again: Again | None = None
) -> list[Reply]:
    """Answer tasks as one batch, each with at most max_tokens in all, within the model's context.

    With `again`, the reasoning is broken off at its end, or after `first` tokens; the reminder follows in its place,
    and then what the policy goes on with, in the tokens that are left. Without, it goes on as it likes: the plain
    continuation in the same budget. Raises ModelError where a question or the reminder does not fit.
    """
    starts = [policy.ids(policy.prompt(task)) for task in tasks]
    rooms = [policy.room(start, max_tokens) for start in starts]
    reminders: list[list[int]] = [[] for _ in tasks]
    halves: list[list[int]] = [[] for _ in tasks]
    if again is not None:
        reminders = [_reminder(policy, task.question, again) for task in tasks]
        firsts = [_first_room(again, *pair) for pair in zip(reminders, rooms, strict=True)]
        chains = policy.write(starts, firsts, temperature, reasoning=True)
        halves = [_open(policy, chain) + extra for chain, extra in zip(chains, reminders, strict=True)]
    begun = [start + half for start, half in zip(starts, halves, strict=True)]
    left = [room - len(half) for room, half in zip(rooms, halves, strict=True)]
    rests = policy.write(begun, left, temperature)
    return [
        _reply(policy, task, half + rest.ids, rest.cut, len(extra))
        for task, half, rest, extra in zip(tasks, halves, rests, reminders, strict=True)
    ]


def _reply(policy: Policy, task: Task, ids: list[int], cut: bool, num_reminder_tokens: int) -> Reply:
    reasoned = reasoning_length(policy.tokenizer, ids)
    return Reply(task.question, policy.text(ids), len(ids), reasoned, num_reminder_tokens, cut)


def _reminder(policy: Policy, question: str, again: Again) -> list[int]:
    """Return the tokens between the halves: those of the neutral words are as many as those of the question's."""
    ids = policy.ids(REMINDER.format(question=question))
    if again.what == "question":
        return ids
    told = policy.ids("\n" + Neutral(lambda text: len(policy.ids(text))).of(2 * len(ids)))
    return [*told[: len(ids) - 1], policy.ids("\n")[-1]]


def _first_room(again: Again, reminder: list[int], room: int) -> int:
    """Return the most tokens of the first half. Raises ModelError where the reminder leaves none for the second."""
    first = room // 2 if again.first is None else again.first
    most = min(first, room - len(reminder) - 1)
    if most < 1:
        raise ModelError(
            f"a budget of {room} tokens leaves no room beside a reminder of {len(reminder)}; raise --max-tokens"
        )
    return most


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
