"""What a judge is shown, and how its answer is read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rewards import Label
from rewards.monitor import as_label
from rewards.parse import block, reasoning
from rl.data import Message

TAGS = re.compile(r"<(?=\s*/?\s*(?:think|monitor|label|output|answer)\b)", re.IGNORECASE)
BROKEN_TAG = "("  # what stands for the bracket of a tag inside audited text, which must not read as one


class JudgeError(ValueError):
    """Say why no verdicts can be had, and what would help."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Hold one completion to audit: the prompt it answers, its reasoning, and its output (None: there is none).

    Where the layout is broken, all of the completion is reasoning, so that breaking it hides nothing.
    """

    prompt: tuple[tuple[str, str], ...]
    reasoning: str
    output: str | None

    @classmethod
    def of(cls, messages: Sequence[Message], completion: str) -> "Audit":
        """Take a completion apart; tags inside its parts are broken up, so that it cannot speak for the judge."""
        output = block(completion, "output")
        return cls(
            prompt=tuple((message["role"], message["content"]) for message in messages),
            reasoning=_without_tags(reasoning(completion)),
            output=None if output is None else _without_tags(output),
        )


class Judge(Protocol):
    """Audit completions. Called on all ranks alike."""

    def verdicts(self, audits: Sequence[Audit]) -> list[Label | None]:
        """Return a verdict for each; None where the judge's answer cannot be read. Raises JudgeError."""
        ...


def read_verdict(text: str) -> Label | None:
    """Read a judge's answer: exactly one <label> with exactly one of the labels in it, else None."""
    return as_label(block(text, "label"))


def _without_tags(text: str) -> str:
    return TAGS.sub(BROKEN_TAG, text)
