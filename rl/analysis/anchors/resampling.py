"""What a sentence changes of the answer: the policy goes on many times, with it and with another in its place.

arXiv 2506.19143. Prefixes are cut by place: a sentence that is said twice goes once. The rollouts with a sentence are
those that go on behind it, which are at once the ones without the next; those without it count where their own first
sentence is another one.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from rewards.echoes import Similarity
from rewards.parse import final_answer
from rewards.sentences import split
from rl.analysis.anchors.marked import Marked
from rl.policy import Policy

TEMPERATURE, TOP_P, ALIKE = 0.6, 0.95, 0.8
Judge = Callable[[str, str, str], bool | None]


@dataclass(frozen=True, slots=True)
class Resampled:
    """Hold what came of a sentence: how often another came in its place, and shares of right answers.

    `importance` is the accuracy with it less that without, where the answer is known, or else the KL of the answers
    with it from those without, nats; None where nothing else came in its place.
    """

    different: int
    accuracy_with: float | None
    accuracy_without: float | None
    importance: float | None


@dataclass(frozen=True)
class Rollout:
    """Hold what a policy went on with, what it answered in the end, and whether that is right."""

    written: str
    answer: str
    correct: bool | None


def resample(
    policy: Policy,
    trace: Marked,
    count: int,
    *,
    judge: Judge,
    likeness: Similarity,
    max_tokens: int,
    batch: int,
    seed: int,
    heard: Callable[[int], None],
) -> list[Resampled]:
    """Go on `count` times from before every sentence, and say what each does to the answer.

    Behind the last sentence stands the trace's own answer. `heard` is told how many sentences are done.
    """
    rolled: list[list[Rollout]] = []
    for place, (start, _) in enumerate(trace.sentences):
        torch.manual_seed(seed * 1_000_003 + place)
        prefix = trace.completion[: start - len(trace.prompt)]
        rolled.append(_rollouts(policy, trace, prefix, count, judge, max_tokens, batch))
        heard(1)
    end = _rollout(policy, trace, trace.completion, [], judge)
    rolled.append([Rollout("", end.answer, trace.trace.correct if end.correct is None else end.correct)])
    return [
        compare(text, before, behind, likeness)
        for text, before, behind in zip(trace.texts, rolled, rolled[1:], strict=False)
    ]


def compare(text: str, without: Sequence[Rollout], having: Sequence[Rollout], likeness: Similarity) -> Resampled:
    """Say what a sentence changes, given what came in its place and what comes behind it."""
    others = [one for one in without if is_other(text, one.written, likeness)]
    left, right = _accuracy(having), _accuracy(others)
    if not others:
        return Resampled(0, left, None, None)
    if left is not None and right is not None:
        return Resampled(len(others), left, right, left - right)
    importance = divergence([one.answer for one in having], [one.answer for one in others])
    return Resampled(len(others), left, right, importance)


def is_other(text: str, written: str, likeness: Similarity) -> bool:
    """Say whether what was written begins with another sentence; nothing at all is another."""
    first = next(iter(split(written)), None)
    return first is None or likeness(text, [written[first.start : first.end]])[0] < ALIKE


def divergence(left: Sequence[str], right: Sequence[str]) -> float:
    """Return KL(left || right) of two sets of answers, each with one more of every answer of either [ours]."""
    kinds = sorted({*left, *right})
    counts = [Counter(side) for side in (left, right)]
    p, q = ([(own[kind] + 1) / (own.total() + len(kinds)) for kind in kinds] for own in counts)
    return math.fsum(one * math.log(one / other) for one, other in zip(p, q, strict=True))


def _rollouts(
    policy: Policy, trace: Marked, prefix: Sequence[int], count: int, judge: Judge, max_tokens: int, batch: int
) -> list[Rollout]:
    start = [*trace.prompt, *prefix]
    room = policy.room(start, max_tokens, trace.trace.where)
    found: list[Rollout] = []
    while len(found) < count:
        size = min(batch, count - len(found))
        told = policy.write([start] * size, [room] * size, TEMPERATURE, top_p=TOP_P)
        found += [_rollout(policy, trace, prefix, one.ids, judge) for one in told]
    return found


def _rollout(policy: Policy, trace: Marked, prefix: Sequence[int], ids: Sequence[int], judge: Judge) -> Rollout:
    whole = policy.opening + policy.text([*prefix, *ids])
    gold = trace.trace.answer
    correct = None if gold is None else judge(trace.trace.question, gold, whole)
    return Rollout(policy.text(ids), " ".join((final_answer(whole, "answer") or "").split()), correct)


def _accuracy(rollouts: Sequence[Rollout]) -> float | None:
    known = [one.correct for one in rollouts if one.correct is not None]
    return sum(known) / len(known) if known else None
