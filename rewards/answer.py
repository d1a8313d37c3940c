"""Is this answer equal to that one?"""

from dataclasses import dataclass

from rewards.base import Sample
from rewards.parse import after_marker, last_block, last_boxed, number

MAX_ANSWER_CHARACTERS = 200  # a longer "answer" is no answer, and symbolic parsing of hostile text is slow
TIMEOUT_SECONDS = 1


@dataclass(frozen=True)
class Answer:
    r"""Give 1 where the completion's answer equals the gold one, else 0; None where there is no gold answer.

    The answer is read from the last complete <tag>..</tag>, else the last \boxed{..}, else behind the last `####`.
    Plain numbers are compared exactly; anything else by math-verify (https://github.com/huggingface/Math-Verify).
    """

    tag: str = "answer"

    def __post_init__(self) -> None:
        if not isinstance(self.tag, str) or not self.tag:
            raise ValueError(f"tag must be a tag name such as answer, not {self.tag!r}")

    def __call__(self, sample: Sample) -> float | None:
        if not sample.answer.strip():
            return None
        text = sample.completion
        found = (last_block(text, self.tag), last_boxed(text), after_marker(text, "####"))
        candidate = next((answer for answer in found if answer), None)
        return float(candidate is not None and is_equal(sample.answer, candidate))


def is_equal(gold: str, candidate: str) -> bool:
    """Compare two answers: as exact numbers where both are plain numbers, else mathematically."""
    if len(candidate) > MAX_ANSWER_CHARACTERS:
        return False
    left, right = number(gold), number(candidate)
    if left is not None and right is not None:
        return left == right
    return gold.strip() == candidate.strip() or _is_equal_mathematically(gold, candidate)


def _is_equal_mathematically(gold: str, candidate: str) -> bool:
    from math_verify import parse, verify  # half a second of sympy, paid only by answers that are not plain numbers

    left, right = (parse(f"${text}$", parsing_timeout=TIMEOUT_SECONDS) for text in (gold, candidate))
    return bool(left and right) and verify(left, right, timeout_seconds=TIMEOUT_SECONDS)
