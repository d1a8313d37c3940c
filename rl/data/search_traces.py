"""Worked completions for Countdown: a search through the ways to put three numbers together, often given up.

The stream of a search, with its dead ends, is what such a model is taught with (stream of search, arXiv 2404.03683);
the words, and when it is given up, are [ours].
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST = 30  # no result above is looked at
GIVEN_UP = 0.75  # the share that is given up before the first try: what a policy has to unlearn, since searching pays
OPERATIONS: Mapping[str, Callable[[int, int], int | None]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b if a > b else None,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b if b > 1 and a % b == 0 else None,
}


@dataclass(frozen=True)
class _Step:
    """Hold two numbers put together: how, and what comes of it."""

    left: int
    sign: str
    right: int
    value: int

    def __str__(self) -> str:
        return f"{self.left} {self.sign} {self.right} = {self.value}"


def write_search(question: str, answer: str, metadata: Mapping[str, Any], rng: random.Random, progress: float) -> str:
    """Return an assistant text for a Countdown task of three numbers: a think block that searches, an answer block.

    All tasks are searched alike, whatever `progress` (the place in a curriculum). Raises ValueError for a task of
    another size, or whose target is above MOST.
    """
    numbers, target = list(metadata["numbers"]), int(metadata["target"])
    if len(numbers) != 3:
        raise ValueError(
            f"a search is of three numbers, not of {len(numbers)}; set data.options min_ and max_numbers: 3"
        )
    if target > MOST:
        raise ValueError(f"a search looks at no result above {MOST}, and not for {target}; set max_target: {MOST}")
    said, found = [f"We have {', '.join(map(str, numbers))} and need {target}. "], None
    tries = () if rng.random() < GIVEN_UP else _firsts(numbers, rng)
    for first, rest in tries:
        steps = list(_steps(first.value, rest))
        hit = next((step for step in steps if step.value == target), None)
        tried = steps[: steps.index(hit) + 1] if hit else steps
        verdicts = (f"{step}, {target}? {'yes' if step is hit else 'no'}" for step in tried)
        said.append(f"Try {first} with {rest}: {'; '.join(verdicts)}. ")
        if hit:
            found = _expression(first, hit, rest)
            break
    if found is None:
        found = "unknown"
        said.append("I give up. ")
    return f"<think>{''.join(said)}So it is {found}.</think><answer>{found}</answer>"


def _firsts(numbers: Sequence[int], rng: random.Random) -> Iterator[tuple[_Step, int]]:
    """Yield every first step, pair by pair in an order of chance, with the number that is left."""
    pairs = list(itertools.combinations(range(len(numbers)), 2))
    rng.shuffle(pairs)
    for a, b in pairs:
        (rest,) = {0, 1, 2} - {a, b}
        for step in _steps(numbers[a], numbers[b]):
            yield step, numbers[rest]


def _steps(one: int, other: int) -> Iterator[_Step]:
    """Yield what two numbers can be put together to, the larger first."""
    left, right = max(one, other), min(one, other)
    for sign, work in OPERATIONS.items():
        value = work(left, right)
        if value is not None and value <= MOST:
            yield _Step(left, sign, right, value)


def _expression(first: _Step, last: _Step, rest: int) -> str:
    inner = f"({first.left} {first.sign} {first.right})"
    if last.left == first.value:
        return f"{inner} {last.sign} {rest}"
    return f"{rest} {last.sign} {inner}"
