"""Is this answer equal to that one?"""

import re
from dataclasses import dataclass
from typing import ClassVar

from rewards import symbolic
from rewards.base import Role, Sample
from rewards.parse import check_tag, final_answer
from rewards.value import Collection, Number, read_value

LETTERS = re.compile(r"\\[A-Za-z]+|([A-Za-z])")
NAME = re.compile(r"^\s*[A-Za-z]\s*=")
TEXT = re.compile(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}")


@dataclass(frozen=True)
class Answer:
    r"""Give 1 where the completion's answer equals the gold one, else 0; None where that cannot be judged.

    The answer is the one <tag>..</tag> behind the reasoning, else the one \boxed{..}, else the line behind `####`; two
    different answers are none. Numbers (fractions, thousands separators, per cent, units), intervals and sets of
    numbers are compared exactly, words as words, anything else by math-verify; a comparison that takes longer than
    `seconds` gives None.
    """

    role: ClassVar[Role] = "correct"

    tag: str = "answer"
    seconds: float = 1.0

    def __post_init__(self) -> None:
        check_tag(self.tag)
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float) or not 0 < self.seconds < 3600:
            raise ValueError(f"seconds must be a positive number, below an hour, not {self.seconds!r}")

    def __call__(self, sample: Sample) -> float | None:
        if not sample.answer.strip():
            return None
        candidate = final_answer(sample.completion, self.tag)
        equal = bool(candidate) and is_equal(sample.answer, candidate or "", self.seconds)
        return None if equal is None else float(equal)


def is_equal(gold: str, candidate: str, seconds: float = 1.0) -> bool | None:
    """Compare two answers: exactly where both are plain values, else as words, else by algebra within seconds."""
    if len(candidate) > 4 * len(gold) + symbolic.MAX_CHARACTERS:
        return False
    if gold.strip() == candidate.strip():
        return True
    left, right = read_value(gold), read_value(candidate)
    if isinstance(left, Number) and isinstance(right, Number):
        return left.equals(right)
    if isinstance(left, Collection) and isinstance(right, Collection):
        return left == right
    if _words(gold) == _words(candidate):
        return True
    if isinstance(left or right, Number) and any(map(_has_letters, (gold, candidate))):
        return False  # algebra would take letters behind a number for a unit, and pass over them
    if symbolic.can_compare(gold, candidate):
        return symbolic.is_equal(gold, candidate, seconds)
    return False


def _has_letters(text: str) -> bool:
    """Say whether letters stand in text outside of LaTeX commands, but for the name in `x = 3`."""
    return any(match[1] for match in LETTERS.finditer(NAME.sub("", text)))


def _words(text: str) -> str:
    return " ".join(TEXT.sub(r"\1", text).removesuffix(".").casefold().split())
