"""Answers of an evaluation without a word."""

from collections.abc import Mapping

from rl.evaluation.answers import Answer


def wordless(task: int, correct: bool | None, tokens: int, parts: Mapping[str, float | None], *, cut: bool) -> Answer:
    """An answer to a task: right or not, so many tokens long, all but one of them of its reasoning."""
    return Answer(
        task=task,
        sample=0,
        source="",
        answer="",
        question="",
        completion="",
        num_tokens=tokens,
        num_reasoning_tokens=max(0, tokens - 1),
        num_reminder_tokens=0,
        cut=cut,
        correct=correct,
        parts=parts,
    )
