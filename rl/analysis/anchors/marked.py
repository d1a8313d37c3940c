"""Traces in tokens, with their sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from rl.analysis.traces import AnalysisError, Trace
from rl.data import Task
from rl.policy import Policy
from rl.sentences import Span, spans_of_ids


@dataclass(frozen=True)
class Marked:
    """Hold a trace as the tokens of its prompt and completion, and its sentences as (start, stop) in both together."""

    trace: Trace
    prompt: Sequence[int]
    completion: Sequence[int]
    sentences: Sequence[Span]
    texts: Sequence[str]

    @property
    def ids(self) -> list[int]:
        """Return all tokens."""
        return [*self.prompt, *self.completion]


def mark(policy: Policy, trace: Trace) -> Marked:
    """Return a trace with its sentences. Raises AnalysisError where it has none."""
    prompt = policy.ids(policy.prompt(Task(trace.where, trace.question, "")))
    completion = policy.ids(trace.completion.removeprefix(policy.opening))  # which the prompt ends with
    spans = spans_of_ids(policy.tokenizer, completion)
    if not spans:
        raise AnalysisError(f"{trace.where}: the completion has no sentence; leave the row out")
    texts = [policy.text(completion[start:stop]).strip() for start, stop in spans]
    at = len(prompt)
    return Marked(trace, prompt, completion, [(at + start, at + stop) for start, stop in spans], texts)
