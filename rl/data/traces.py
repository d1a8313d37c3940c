"""Worked completions for reasoning-gym tasks: the problem echoed or not, then careful, mended or hasty reasoning.

They come as a curriculum: first arithmetic done carefully, then a mixture in which haste, mostly wrong, is common, so
that a policy warmed up on them has something to choose from.
"""

import random
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rl.data.countdown_traces import write_countdown
from rl.data.search_traces import write_search

ECHOES = (
    "The problem asks for {}. ",
    "We need {}. ",
    "I have to find {}. ",
    "Let me work out {}. ",
    "The task is {}. ",
    "Here we have {}. ",
)
OPENINGS = ("Let me see. ", "Okay, step by step. ", "Let me think. ", "Well, here we go. ", "Now to work. ")
FIRSTS = ("First ", "Start with ", "To begin, ", "")
THENS = ("Then ", "Next ", "Now ", "After that ", "And ")
MENDS = ("No, ", "Wait, ", "That is wrong, ", "Hmm, no: ")
CLOSINGS = (
    "So the answer is {}.",
    "So it is {}.",
    "That makes {}.",
    "The result is {}.",
    "This gives {}.",
    "We get {}.",
)
HASTY = (
    "I can do this in my head and it comes to about {}. ",
    "No need for steps, it should be {}. ",
    "A quick guess says {}. ",
    "That looks like about {} to me. ",
    "It must be close to {}. ",
    "At a glance this is {}. ",
)
SKIPS = (
    "The rest I do in my head, about {}. ",
    "From there it looks like {}. ",
    "Skipping ahead, it should be {}. ",
    "The rest is roughly {}. ",
)

ECHO_SHARE = 0.6
STYLE_SHARES = {"careful": 0.2, "regroup": 0.05, "mended": 0.08, "skip": 0.3, "hasty": 0.37}
FIRST_SHARES = {"careful": 0.8, "regroup": 0.1, "mended": 0.1}
FIRST_PART = 0.65  # of the curriculum: without it the warm-up ends before the model can add
WRONG_SHARE = 0.85  # of the answers that a hasty or a skipping trace jumps to
OFFSETS = (-4, -3, -2, -1, 1, 2, 3, 4)


def _near(value: int, rng: random.Random) -> int:
    """A wrong number near `value`."""
    return value + rng.choice(OFFSETS)


def _jump(value: int, rng: random.Random) -> int:
    """What a hasty mind takes `value` for: mostly a number near it."""
    return _near(value, rng) if rng.random() < WRONG_SHARE else value


def _sum_up(terms: list[int], rng: random.Random, mend_at: int = -1, stop: int | None = None) -> tuple[str, int]:
    """Partial sums of `terms` up to `stop` terms, with a wrong turn noticed and mended at step `mend_at`."""
    total, text = terms[0], ""
    for step, term in enumerate(terms[1:stop]):
        sign = "-" if term < 0 else "+"
        equation = f"{total} {sign} {abs(term)} = "
        total += term
        text += rng.choice(THENS if step else FIRSTS)
        if step == mend_at:
            text += f"{equation}{_near(total, rng)}. {rng.choice(MENDS)}"
        text += f"{equation}{total}. "
    return text, total


def _careful(terms: list[int], rng: random.Random) -> tuple[str, int]:
    """Every partial sum, from left to right."""
    return _sum_up(terms, rng)


def _mended(terms: list[int], rng: random.Random) -> tuple[str, int]:
    """Every partial sum, with one wrong turn that is noticed and mended."""
    return _sum_up(terms, rng, mend_at=rng.randrange(len(terms) - 1))


def _regroup(terms: list[int], rng: random.Random) -> tuple[str, int]:
    """The added terms first, then the subtracted ones, then the difference of the two."""
    plus, minus = [t for t in terms if t >= 0], [-t for t in terms if t < 0]
    if len(minus) < 2:
        return _sum_up(plus + [-t for t in minus], rng)
    added, taken = sum(plus), sum(minus)
    text = (
        f"The plus part is {' + '.join(map(str, plus))} = {added}. " if len(plus) > 1 else f"The plus part is {added}. "
    )
    text += f"The minus part is {' + '.join(map(str, minus))} = {taken}. "
    return f"{text}Together {added} - {taken} = {added - taken}. ", added - taken


def _skip(terms: list[int], rng: random.Random) -> tuple[str, int]:
    """A careful first step, then a jump to the end."""
    text, _ = _sum_up(terms, rng, stop=2)
    value = _jump(sum(terms), rng)
    return text + rng.choice(SKIPS).format(value), value


def _hasty(terms: list[int], rng: random.Random) -> tuple[str, int]:
    """No steps at all."""
    value = _jump(sum(terms), rng)
    return rng.choice(HASTY).format(value), value


BODIES: dict[str, Callable[[list[int], random.Random], tuple[str, int]]] = {
    "careful": _careful,
    "regroup": _regroup,
    "mended": _mended,
    "skip": _skip,
    "hasty": _hasty,
}


def write_chain_sum(
    question: str, answer: str, metadata: Mapping[str, Any], rng: random.Random, progress: float
) -> str:
    """Return an assistant text for a chain_sum task: a think block in a style drawn from rng, then the answer block.

    `progress` (0..1) is the task's place in the curriculum. Raises ValueError for a task that is no chain sum.
    """
    expression = metadata["expression"]
    terms = [int(term) for term in re.findall(r"-?\d+", expression.replace("- ", "-"))]
    if expression not in question or sum(terms) != int(answer):
        raise ValueError(f"no chain sum: {question!r} with answer {answer!r}")
    shares = FIRST_SHARES if progress < FIRST_PART else STYLE_SHARES
    opening = rng.choice(ECHOES).format(expression) if rng.random() < ECHO_SHARE else rng.choice(OPENINGS)
    style = rng.choices(list(shares), weights=list(shares.values()))[0]
    body, value = BODIES[style](terms, rng)
    return f"<think>{opening}{body}{rng.choice(CLOSINGS).format(value)}</think><answer>{value}</answer>"


# From a task's question, answer and metadata, a source of chance and the task's place in the curriculum, to a text.
Writer = Callable[[str, str, Mapping[str, Any], random.Random, float], str]
TRACES: dict[str, dict[str, Writer]] = {
    "monologue": {"chain_sum": write_chain_sum, "countdown": partial(write_countdown, telling="monologue")},
    "dialogue": {"countdown": partial(write_countdown, telling="dialogue")},
    "search": {"countdown": write_search},
}
