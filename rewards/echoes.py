"""Where a reasoning restates the question before it goes to work (arXiv 2602.06600, section 3).

An echo is an opening. It exists where the first sentence is at least `threshold` like the question, and goes on
sentence by sentence until their likeness falls by more than `drop` below its peak.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rewards.sentences import Sentence, overlaps, split, words

Similarity = Callable[[str, Sequence[str]], Sequence[float]]
"""(question, sentences) -> how like the question each is, at most 1."""

OPENER_WORDS = 12  # most words of a sentence that only opens
_OPEN_TAG = re.compile(r"\s*<(think|thinking|reasoning)>")


@dataclass(frozen=True, slots=True)
class Rule:
    """Say what counts as an echo.

    `openers` is how many sentences such as "Okay, let me see." may stand before it, which belong to it: of at most
    OPENER_WORDS words, and without a number [ours].
    """

    threshold: float = 0.6
    drop: float = 0.15
    openers: int = 1

    def __post_init__(self) -> None:
        if not (0 < self.threshold <= 1 and 0 <= self.drop <= 1):
            raise ValueError(f"threshold {self.threshold} and drop {self.drop} should be above 0 and at most 1")
        if self.openers < 0:
            raise ValueError(f"openers should be 0 or more, not {self.openers}")


@dataclass(frozen=True, slots=True)
class Echo:
    """Hold where an echo stands, in characters from `start` to `end`, and how like the question its sentences are."""

    start: int
    end: int
    similarities: tuple[float, ...]


def reasoning_span(text: str) -> tuple[int, int]:
    """Return where the reasoning of a completion begins and ends: between its tags, all of it where it has none."""
    tag = _OPEN_TAG.match(text)
    if tag is None:
        return 0, len(text)
    end = text.find(f"</{tag.group(1)}>", tag.end())
    return tag.end(), len(text) if end < 0 else end


def find(question: str, text: str, rule: Rule = Rule(), similarity: Similarity = overlaps) -> Echo | None:
    """Return the echo that a completion opens with, or None where it has none.

    The sentences are those of the reasoning, up to the first block of code [ours]: a question quoted in code is data,
    and no restatement. An empty text, or question, has no echo.
    """
    return _find_in(question, text, reasoning_span(text), rule, similarity)


def without(question: str, text: str, rule: Rule = Rule(), similarity: Similarity = overlaps) -> str:
    """Return the text without its echo, and without the space behind it: what follows is untouched.

    Where the rest would open with an echo of its own, as one that is less like the question than the first, that goes
    too: the result has none.
    """
    start, end = reasoning_span(text)
    while (echo := _find_in(question, text, (start, end), rule, similarity)) is not None:
        rest = text[echo.end :].lstrip()
        end -= len(text) - echo.start - len(rest)
        text = text[: echo.start] + rest
    return text


def _find_in(question: str, text: str, span: tuple[int, int], rule: Rule, similarity: Similarity) -> Echo | None:
    sentences = _prose(split(text, *span))
    if not sentences or not question.strip():
        return None
    likeness = _Likeness(question, text, sentences, similarity)
    first = 0
    while likeness.at(first) < rule.threshold:
        if first == min(rule.openers, len(sentences) - 1) or not _only_opens(text, sentences[first]):
            return None
        first += 1
    peak, last = likeness.at(first), first
    while (found := likeness.at(last + 1)) >= peak - rule.drop and last + 1 < len(sentences):
        peak, last = max(peak, found), last + 1
    similarities = tuple(likeness.at(index) for index in range(first, last + 1))
    return Echo(sentences[0].start, sentences[last].end, similarities)


def _prose(sentences: Sequence[Sentence]) -> list[Sentence]:
    code = next((index for index, sentence in enumerate(sentences) if sentence.is_code), len(sentences))
    return list(sentences[:code])


def _only_opens(text: str, sentence: Sentence) -> bool:
    said = words(text[sentence.start : sentence.end])
    return len(said) <= OPENER_WORDS and not any(any(map(str.isdigit, word)) for word in said)


class _Likeness:
    """Ask for likeness a few sentences at a time: an echo is short, and a trace may have thousands."""

    BLOCK = 8

    def __init__(self, question: str, text: str, sentences: Sequence[Sentence], similarity: Similarity) -> None:
        self._question, self._similarity = question, similarity
        self._sentences = [text[sentence.start : sentence.end] for sentence in sentences]
        self._known: list[float] = []

    def at(self, index: int) -> float:
        """Return how like the question a sentence is; -1 beyond the last."""
        if index >= len(self._sentences):
            return -1.0
        while index >= len(self._known):
            block = self._sentences[len(self._known) : len(self._known) + self.BLOCK]
            self._known += [float(value) for value in self._similarity(self._question, block)]
        return self._known[index]
