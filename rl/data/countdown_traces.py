"""Worked completions for Countdown: attempts that miss, then the task's solution, told by one voice or by several.

Both tellings of a task make the same attempts in the same order (society of thought, arXiv 2601.10825, compares the
two); who speaks, and how attempts are chosen, is [ours].
"""

import ast
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

Telling = Literal["monologue", "dialogue"]
SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
VOICES = ("Ada", "Ben", "Cleo")
MOST_ATTEMPTS = 2  # that miss, before the solution
OPENINGS = {
    "monologue": ("I need {target} from {numbers}. ", "The numbers are {numbers} and I want {target}. "),
    "dialogue": ("We need {target} from {numbers}. ", "The numbers are {numbers} and we want {target}. "),
}
TRIES = {
    "monologue": ("Let me try {steps}. ", "What about {steps}. ", "Maybe {steps}. "),
    "dialogue": ("How about {steps}? ", "Could it be {steps}? ", "I would try {steps}. "),
}
MISSES = {
    "monologue": ("That is {value}, too {far}. ", "No, {value} is too {far}. "),
    "dialogue": ("No, I get {value}, which is too {far}. ", "That makes {value}, too {far}, I disagree. "),
}
FINDS = {
    "monologue": ("Then {steps}. ", "So {steps}. "),
    "dialogue": ("Then let us take {steps}. ", "Look at it this way: {steps}. "),
}
HITS = {
    "monologue": ("That is {target}.",),
    "dialogue": ("I checked it, that is {target}.", "Yes, that is {target}, I agree."),
}


@dataclass(frozen=True)
class _Line:
    steps: str
    value: Fraction


def write_countdown(
    question: str, answer: str, metadata: Mapping[str, Any], rng: random.Random, progress: float, telling: Telling
) -> str:
    """Return an assistant text for a Countdown task: a think block in the telling's words, then the answer block.

    Raises ValueError for a task whose solution does not come to its target.
    """
    numbers, target = list(metadata["numbers"]), int(metadata["target"])
    solution = _work_out(answer)
    if solution.value != target:
        raise ValueError(f"no countdown solution: {answer} is {solution.value}, not {target}")
    attempts = [_attempt(numbers, rng) for _ in range(rng.randint(0, MOST_ATTEMPTS))]
    missed = [attempt for attempt in attempts if attempt.value != target]
    picks = [rng.random() for _ in range(3 + 2 * len(missed))]  # as many draws for either telling
    first = rng.randrange(len(VOICES))
    said = list(_say(missed, solution, numbers, target, iter(picks), telling))
    if telling == "dialogue":
        said = [f"{VOICES[(first + turn) % len(VOICES)]}: {text}" for turn, text in enumerate(said)]
    return f"<think>{''.join(said).rstrip()}</think><answer>{answer}</answer>"


def _say(
    missed: Sequence[_Line], solution: _Line, numbers: Sequence[int], target: int, picks: Iterator[float], how: Telling
) -> Iterator[str]:
    def choose(phrases: Mapping[str, Sequence[str]]) -> str:
        return phrases[how][int(next(picks) * len(phrases[how]))]

    yield choose(OPENINGS).format(target=target, numbers=", ".join(map(str, numbers)))
    for line in missed:
        yield choose(TRIES).format(steps=line.steps)
        yield choose(MISSES).format(value=line.value, far="high" if line.value > target else "low")
    yield choose(FINDS).format(steps=solution.steps)
    yield choose(HITS).format(target=target)


def _attempt(numbers: Sequence[int], rng: random.Random) -> _Line:
    """Put the numbers together in a random order, by random operations."""
    value, *rest = (Fraction(number) for number in rng.sample(numbers, len(numbers)))
    steps = []
    for number in rest:
        sign = rng.choice("+-*")
        result = {"+": value + number, "-": value - number, "*": value * number}[sign]
        steps.append(f"{value} {sign} {number} = {result}")
        value = result
    return _Line(", ".join(steps), value)


def _work_out(expression: str) -> _Line:
    """Return the steps of an arithmetic expression, in the order it is worked out in, and its value."""
    steps: list[str] = []

    def visit(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int(number)):
                return Fraction(number)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -visit(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in SIGNS:
                a, b, sign = visit(left), visit(right), SIGNS[type(op)]
                value = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else Fraction(0)}[sign]
                steps.append(f"{a} {sign} {b} = {value}")
                return value
        raise ValueError(f"no arithmetic: {expression!r}")

    value = visit(ast.parse(expression, mode="eval").body)
    return _Line(", ".join(steps), value)
