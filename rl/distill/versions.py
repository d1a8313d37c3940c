"""From one verified trace to its three versions, each verified again; or why there are none."""

from dataclasses import dataclass
from typing import Literal

from rewards import Rubric, Sample
from rewards.echoes import Rule, Similarity, find, without
from rewards.sentences import words
from rl.data import Task
from rl.echo.openings import TEMPLATE, Neutral, opened_with
from rl.endpoint import Answer

Edit = Literal["none", "inserted", "deleted", "padded"]
CLOSEST = 2  # tokens that a matched version may be longer or shorter
LOOP_WORDS, LOOP_SHARE, LOOP_LEAST = 8, 0.5, 64  # a trace repeats itself where fewer of its 8-grams are distinct


@dataclass(frozen=True, slots=True)
class Version:
    """Hold a completion, what was done to the trace for it, and how long it and its opening are, in tokens."""

    completion: str
    edit: Edit
    tokens: int
    opening_tokens: int


@dataclass(frozen=True, slots=True)
class Versions:
    """Hold a trace with an echo, without one, and with neutral words in the place of one."""

    echo: Version
    plain: Version
    matched: Version


@dataclass(frozen=True)
class Verifier:
    """Hold what a completion is judged by: the recipe's rewards, and what counts as an echo."""

    rubric: Rubric
    rule: Rule
    similarity: Similarity
    neutral: Neutral

    def fault(self, task: Task, completion: str) -> str | None:
        """Say why a completion is no worked answer of a task; None where it is one. Raises RewardError.

        It must be right, and no other reward may punish it, as a broken layout is.
        """
        sample = Sample(task.question, task.answer, completion, facts=task.facts)
        parts = {name: self.rubric.part(name, sample) for name in self.rubric.rewards}
        right = self.rubric.is_correct(parts)
        if not right:
            return "cannot be judged" if right is None else "wrong answer"
        punished = [
            name for name, value in parts.items() if value is not None and value * self.rubric.weights[name] < 0
        ]
        return f"punished by {punished[0]}" if punished else None

    def has_echo(self, task: Task, completion: str) -> bool:
        """Say whether a completion opens with an echo."""
        return find(task.question, completion, self.rule, self.similarity) is not None

    def trace_fault(self, task: Task, trace: Answer) -> str | None:
        """Say why a trace is of no use; None where it is."""
        if trace.cut:
            return "cut off"
        if not trace.text.strip():
            return "empty"
        return "repeats itself" if _loops(trace.text) else self.fault(task, trace.text)

    def versions(self, task: Task, trace: str, opening: str | None) -> Versions | str:
        """Return the versions of a verified trace; `opening` restates the question where the trace does not.

        Returns a reason where one of them does not hold: an echo that is none, an answer that is right no more, or
        neutral words that do not come to as many tokens.
        """
        kept = without(task.question, trace, self.rule, self.similarity)
        natural = kept != trace
        if not natural and not opening:
            return "no opening to insert"
        echo = trace if natural else opened_with(opening or "", trace)
        count = self.neutral.count
        matched = self.neutral.before(kept, count(echo))
        made = {"with an echo": echo, "without one": kept, "matched": matched}
        for name, text in made.items():
            if self.has_echo(task, text) is not (name == "with an echo"):
                return f"{name}: the edit is not what was found"
            if (fault := self.fault(task, text)) is not None:
                return f"{name}: {fault}"
        sizes = {name: count(text) for name, text in made.items()}
        if abs(sizes["matched"] - sizes["with an echo"]) > CLOSEST:
            return "matched: no neutral words are as long"
        plain = sizes["without one"]
        return Versions(
            Version(echo, "none" if natural else "inserted", sizes["with an echo"], sizes["with an echo"] - plain),
            Version(kept, "deleted" if natural else "none", plain, 0),
            Version(matched, "padded", sizes["matched"], sizes["matched"] - plain),
        )


def template_opening(task: Task) -> str:
    """Return the paper's words around the question, on one line."""
    return TEMPLATE.format(question=task.question.strip())


def _loops(text: str) -> bool:
    said = words(text)
    grams = [tuple(said[place : place + LOOP_WORDS]) for place in range(len(said) - LOOP_WORDS + 1)]
    return len(said) >= LOOP_LEAST and len(set(grams)) < LOOP_SHARE * len(grams)
