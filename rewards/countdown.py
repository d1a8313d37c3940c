"""Does this arithmetic use the right numbers, each once, and come to the right value? Parsed, never evaluated."""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from rewards.base import Role, Sample
from rewards.parse import check_tag, final_answer

ARITHMETIC = re.compile(r"[-+*/() 0-9]{1,300}")  # bounded, and so is the depth of what it parses to
Ratio = tuple[int, int]  # not in lowest terms: several times as fast as Fraction, and as exact
OPERATORS: dict[type[ast.operator], Callable[[int, int, int, int], Ratio]] = {
    ast.Add: lambda a, b, c, d: (a * d + c * b, b * d),
    ast.Sub: lambda a, b, c, d: (a * d - c * b, b * d),
    ast.Mult: lambda a, b, c, d: (a * c, b * d),
    ast.Div: lambda a, b, c, d: (a * d, b * c),
}


@dataclass(frozen=True)
class Countdown:
    """Give 1 where the answer is arithmetic over the task's numbers, each used once, whose value is the target, else 0.

    Numbers and target are the task's facts `numbers` and `target`; None where it has none. `= target` may follow.
    """

    role: ClassVar[Role] = "correct"
    facts: ClassVar[frozenset[str]] = frozenset({"numbers", "target"})

    tag: str = "answer"

    def __post_init__(self) -> None:
        check_tag(self.tag)

    def __call__(self, sample: Sample) -> float | None:
        if sample.facts.get("numbers") is None or sample.facts.get("target") is None:
            return None
        numbers, target = [_whole(number) for number in sample.facts["numbers"]], _whole(sample.facts["target"])
        text = final_answer(sample.completion, self.tag)
        if text is None:
            return 0.0
        expression, equals, right = text.partition("=")
        found = None if equals and right.strip() != str(target) else evaluate(expression)
        return float(found is not None and found[0] == target and sorted(found[1]) == sorted(numbers))


def _whole(fact: object) -> int:
    """Return a number of the task, which data may hold as text. Raises ValueError for anything else."""
    if isinstance(fact, int) and not isinstance(fact, bool):
        return fact
    if isinstance(fact, float) and fact.is_integer():
        return int(fact)
    if isinstance(fact, str) and re.fullmatch(r"\s*-?[0-9]{1,12}\s*", fact):
        return int(fact)
    raise ValueError(f"the facts numbers and target should be whole numbers, not {fact!r}")


def evaluate(expression: str) -> tuple[Fraction, list[int]] | None:
    """Work out + - * / with brackets and signs, exactly: the value and the numbers used, in order.

    None for anything else, for a division by zero, and for more than 300 characters.
    """
    expression = expression.strip()
    if ARITHMETIC.fullmatch(expression) is None:
        return None
    used: list[int] = []
    try:
        return Fraction(*_ratio(ast.parse(expression, mode="eval").body, used)), used
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _ratio(node: ast.expr, used: list[int]) -> Ratio:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        ratio = OPERATORS[type(node.op)](*_ratio(node.left, used), *_ratio(node.right, used))
        if ratio[1] == 0:
            raise ZeroDivisionError
        return ratio
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return node.value, 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        top, bottom = _ratio(node.operand, used)
        return -top, bottom
    raise ValueError(f"no arithmetic: {type(node).__name__}")
