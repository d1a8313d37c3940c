"""Does this arithmetic use the right numbers, each once, and come to the right value? Parsed, never evaluated."""

import ast
import operator
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from rewards.base import Role, Sample
from rewards.parse import check_tag, final_answer

ARITHMETIC = re.compile(r"[-+*/() 0-9]{1,300}")  # bounded, and so is the depth of what it parses to
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Countdown:
    """Give 1 where the answer is arithmetic over the task's numbers, each used once, whose value is the target, else 0.

    Numbers and target are the task's facts `numbers` and `target`; None where it has none. `= target` may follow.
    """

    role: ClassVar[Role] = "correct"

    tag: str = "answer"

    def __post_init__(self) -> None:
        check_tag(self.tag)

    def __call__(self, sample: Sample) -> float | None:
        numbers, target = sample.facts.get("numbers"), sample.facts.get("target")
        if numbers is None or target is None:
            return None
        text = final_answer(sample.completion, self.tag)
        if text is None:
            return 0.0
        expression, equals, right = text.partition("=")
        found = None if equals and right.strip() != str(target) else evaluate(expression)
        return float(found is not None and found[0] == target and Counter(found[1]) == Counter(map(int, numbers)))


def evaluate(expression: str) -> tuple[Fraction, list[int]] | None:
    """Work out + - * / with brackets and signs, exactly: the value and the numbers used, in order.

    None for anything else, for a division by zero, and for more than 300 characters.
    """
    expression = expression.strip()
    if ARITHMETIC.fullmatch(expression) is None:
        return None
    used: list[int] = []
    try:
        return _value(ast.parse(expression, mode="eval").body, used), used
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr, used: list[int]) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            used.append(number)
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, used)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in OPERATORS:
            return OPERATORS[type(operation)](_value(left, used), _value(right, used))
    raise ValueError(f"no arithmetic: {type(node).__name__}")
