"""Sentences of a text, and how much of one text is said in another: exact places, no model."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

SHORT_WORDS = 5  # a sentence of fewer words is no restatement of a longer text, however many of them it shares
_ABBREVIATIONS = frozenset(
    ["mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "fig", "no", "eq", "approx", "cf", "al"]
)
_FENCE = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
# An end mark with what closes behind it and a space, or an end mark of Chinese and Japanese, or the end of a line.
_END = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)\]]*(?=\s)|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d]*|(?=\n)")
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+(?:[.,]\d+)*"
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """Hold where a sentence stands, in characters, without the space around it; a block of code is one sentence."""

    start: int
    end: int
    is_code: bool = False


def split(text: str, start: int = 0, end: int | None = None) -> list[Sentence]:
    """Return the sentences of a text between two places: they end at . ! ? and their like, and at the end of a line.

    Abbreviations, decimals and initials end none; what stands between ``` fences is one.
    """
    end = len(text) if end is None else end
    found: list[Sentence] = []
    place = start
    for fence in _FENCE.finditer(text, start, end):
        found += _prose(text, place, fence.start())
        found += _stripped(text, fence.start(), fence.end(), is_code=True)
        place = fence.end()
    return found + _prose(text, place, end)


def _prose(text: str, start: int, end: int) -> list[Sentence]:
    found: list[Sentence] = []
    place = start
    for mark in _END.finditer(text, start, end):
        if not _is_abbreviation(text[place : mark.start()], mark.group()):
            found += _stripped(text, place, mark.end())
            place = mark.end()
    return found + _stripped(text, place, end)


def _is_abbreviation(before: str, mark: str) -> bool:
    last = before.rsplit(maxsplit=1)[-1].lstrip("(\"'") if before.strip() else ""
    return mark == "." and (last.lower() in _ABBREVIATIONS or (len(last) == 1 and last.isupper() and last != "I"))


def _stripped(text: str, start: int, end: int, is_code: bool = False) -> list[Sentence]:
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    end -= len(part) - len(part.rstrip())
    return [Sentence(start, end, is_code)] if start < end else []


def words(text: str) -> list[str]:
    """Return the words of a text in lower case: numbers whole, Chinese, Japanese and Korean sign by sign."""
    return [word.lower() for word in _WORD.findall(text)]


def overlaps(question: str, sentences: Sequence[str]) -> list[float]:
    """Return for each sentence the share of its words that the question says too, each as often, in 0..1 [ours].

    |S & Q| / max(|S|, min(|Q|, SHORT_WORDS)) of multisets of words, and 1 for each of the question's own sentences.
    What stands before a colon only leads in: the part behind it counts where that is more.
    """
    asked = Counter(words(question))
    own = {tuple(words(question[one.start : one.end])) for one in split(question)} - {()}
    return [max(_share(asked, own, one), _share(asked, own, one.partition(":")[2])) for one in sentences]


def _share(asked: Counter[str], own: set[tuple[str, ...]], sentence: str) -> float:
    said = words(sentence)
    if tuple(said) in own:
        return 1.0
    least = min(asked.total(), SHORT_WORDS)
    return (Counter(said) & asked).total() / max(len(said), least) if said and asked else 0.0


def restated(question: str, text: str) -> float:
    """Return the share of the question's words that a text says too, each as often as it does, in 0..1."""
    asked = Counter(words(question))
    return (asked & Counter(words(text))).total() / asked.total() if asked else 0.0
