"""What an echo does to a policy: how likely it makes the trace, and where the attention of what follows goes.

arXiv 2602.06600. With a completion y = e s of an echo e and the rest s to a question x, and L the mean log-prob of a
token: the likelihood gap is L(y | x) - L(s | x), the suffix gap L(s | x, e) - L(s | x) over the tokens that are the
same in both [ours: where the cut falls, a space may join a word or not]. Refocusing is the attention of the tokens of s
to e, and to the question; the control is the same s behind neutral words of as many tokens as e.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rewards.echoes import Rule, Similarity, find, without
from rl.analysis.forward import Passage, Passed, forward
from rl.analysis.question import put
from rl.analysis.traces import AnalysisError, Trace
from rl.attention import readable_layers
from rl.echo.boundary import token_span
from rl.echo.openings import Neutral
from rl.policy import Policy

CLOSEST = 2  # tokens that a control may be longer or shorter
Mass = dict[int, tuple[float, float]]
"""By layer, the attention to the opening and to the question, mean over heads and tokens."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Hold what was found of one trace, in nats and tokens; without an echo both gaps are 0 and no attention is read.

    A gap is None where the completion is nothing but an echo. The control's attention is None where no neutral words
    are as long as the echo.
    """

    where: str
    question: str
    correct: bool | None
    num_tokens: int
    num_echo_tokens: int
    log_prob: float
    gap: float | None = 0.0
    suffix_gap: float | None = 0.0
    attention: Mass | None = None
    control: Mass | None = None


@dataclass(frozen=True)
class Detector:
    """Say what counts as an echo."""

    rule: Rule
    similarity: Similarity

    def cut(self, question: str, completion: str, opening: str) -> tuple[tuple[int, int], str] | None:
        """Return where the echo of a completion stands, in characters, and the completion without it; or None.

        `opening` is what stands before the completion, such as the <think> that a chat template writes.
        """
        text, before = opening + completion, len(opening)
        echo = find(question, text, self.rule, self.similarity)
        if echo is None:
            return None
        rest = without(question, text, self.rule, self.similarity)
        gone = text[echo.start : echo.start + len(text) - len(rest)]
        return (echo.start - before, echo.start - before + len(gone.rstrip())), rest[before:]


@dataclass(frozen=True)
class Found:
    """Hold what was measured, of the traces in their order, and how many the model's context does not hold."""

    measured: list[Measured]
    too_long: int


def measure(
    policy: Policy,
    traces: Sequence[Trace],
    detector: Detector,
    *,
    batch: int,
    heard: Callable[[int], None],
) -> Found:
    """Measure traces, `batch` of them in a pass, and tell `heard` how many are done.

    Raises AnalysisError where the model gives a trace no finite log-prob.
    """
    neutral = Neutral(lambda text: len(policy.ids(text)))
    prepared = [_Prepared.of(policy, trace, detector, neutral) for trace in traces]
    order = [index for index, one in enumerate(prepared) if one.whole.fits(policy.context)]
    order.sort(key=lambda index: -len(prepared[index].whole.completion))
    found: dict[int, Measured] = {}
    layers = readable_layers(policy.model)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        passages = [passage for index in part for passage in prepared[index].passages()]
        results = _passed(policy, passages, layers, batch)
        for index in part:
            found[index] = prepared[index].measured(results)
            if not math.isfinite(found[index].log_prob):
                raise AnalysisError(f"{traces[index].where}: {policy.name} gives it no finite log-prob")
        heard(len(part))
    if len(order) < len(traces):
        heard(len(traces) - len(order))
    return Found([found[index] for index in sorted(found)], len(traces) - len(order))


@dataclass(frozen=True)
class _Prepared:
    """Hold a trace as passages: whole, and where it has an echo without it and behind neutral words.

    `same` counts the tokens that the whole and the rest end with alike. There is no control where neutral words do not
    come to as many tokens as the echo, or no longer fit into the context.
    """

    trace: Trace
    whole: Passage
    short: Passage | None = None
    control: Passage | None = None
    num_echo_tokens: int = 0
    same: int = 0

    @classmethod
    def of(cls, policy: Policy, trace: Trace, detector: Detector, neutral: Neutral) -> "_Prepared":
        prompt, question = put(policy, trace.where, trace.question)
        text = trace.completion.removeprefix(policy.opening)  # which the prompt ends with
        found = detector.cut(trace.question, text, policy.opening)
        if found is None:
            return cls(trace, Passage(prompt, policy.ids(text)))
        (start, _), rest = found
        ids, (first, last) = token_span(policy.tokenizer, text, found[0])
        whole = _passage(prompt, ids, (first, last), question)
        behind = rest[start:].strip()
        if not behind:
            return cls(trace, whole, num_echo_tokens=last - first)
        rest_ids, (opening, _) = token_span(policy.tokenizer, rest, (start, start))
        same = _common_end(ids[last:], rest_ids[opening:])
        told = neutral.before(policy.opening + rest, len(ids) + len(policy.ids(policy.opening)))
        told = told.removeprefix(policy.opening)
        told_ids, told_span = token_span(policy.tokenizer, told, (start, len(told[: told.rindex(behind)].rstrip())))
        control = _passage(prompt, told_ids, told_span, question)
        alike = abs(len(told_ids) - len(ids)) <= CLOSEST and control.fits(policy.context)
        return cls(trace, whole, Passage(prompt, rest_ids), control if alike else None, last - first, same)

    def passages(self) -> list[Passage]:
        return [one for one in (self.whole, self.short, self.control) if one is not None]

    def measured(self, results: dict[int, Passed]) -> Measured:
        whole = results[id(self.whole)]
        gap = suffix_gap = 0.0 if self.num_echo_tokens == 0 else None
        if self.short is not None:
            short = results[id(self.short)]
            gap = float(whole.log_probs.mean() - short.log_probs.mean())
            if self.same:
                ends = [found.log_probs[-self.same :].mean() for found in (whole, short)]
                suffix_gap = float(ends[0] - ends[1])
        return Measured(
            self.trace.where,
            self.trace.question,
            self.trace.correct,
            len(self.whole.completion),
            self.num_echo_tokens,
            float(whole.log_probs.mean()),
            gap,
            suffix_gap,
            _mass(whole) if self.short else None,
            _mass(results[id(self.control)]) if self.control else None,
        )


def _passage(prompt: list[int], ids: list[int], opening: tuple[int, int], question: tuple[int, int]) -> Passage:
    at = len(prompt)
    return Passage(prompt, ids, (at + opening[1], at + len(ids)), ((at + opening[0], at + opening[1]), question))


def _passed(policy: Policy, passages: Sequence[Passage], layers: Sequence[int], batch: int) -> dict[int, Passed]:
    pad = int(policy.tokenizer.pad_token_id)  # pyright: ignore
    found: dict[int, Passed] = {}
    for part in _alike(passages, batch):
        for passage, passed in zip(part, forward(policy.model, part, layers, pad), strict=True):
            found[id(passage)] = passed
    return found


def _alike(passages: Sequence[Passage], batch: int) -> Iterator[list[Passage]]:
    """Yield passages in batches, those whose attention is read apart from the others."""
    for reads in (True, False):
        own = [passage for passage in passages if bool(passage.spans) is reads]
        for start in range(0, len(own), batch):
            yield own[start : start + batch]


def _common_end(left: Sequence[int], right: Sequence[int]) -> int:
    """Count the tokens that two texts end with alike."""
    pairs = zip(reversed(left), reversed(right), strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(left), len(right)))


def _mass(passed: Passed) -> Mass:
    means = {layer: mass.mean(0).tolist() for layer, mass in passed.mass.items()}
    return {layer: (values[0], values[1]) for layer, values in means.items()}
