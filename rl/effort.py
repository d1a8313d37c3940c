"""The effort dial: what each rollout is asked for, in which words, and the query's average length it is relative to.

Relative effort is e1's (arXiv 2510.27042), a number of tokens L1's (arXiv 2503.04697).
"""

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from transformers import PreTrainedTokenizerBase

from rl.data import Message

CLOSING = "</think>"
Of = Literal["reasoning", "completion"]
PLACES = 2  # decimals of an effort: what is said is what is judged
NUM_BUCKETS = 4


def reasoning_length(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> int:
    """Count the tokens of a completion up to the end of its </think>; all of them where it has none."""
    ids = list(ids)
    if CLOSING not in str(tokenizer.decode(ids, skip_special_tokens=False)):
        return len(ids)
    low, high = 1, len(ids)
    while low < high:  # the shortest beginning that holds it
        middle = (low + high) // 2
        if CLOSING in str(tokenizer.decode(ids[:middle], skip_special_tokens=False)):
            high = middle
        else:
            low = middle + 1
    return low


@dataclass(frozen=True)
class Dial:
    """Draw what rollouts are asked for, from values or evenly from low to high, and put it into the prompt's words.

    Draws depend on nothing but the seed and the place: a resumed run asks for the same.
    """

    kind: Literal["relative", "tokens"]
    low: float
    high: float
    wording: str
    values: Sequence[float] | None = None
    per_rollout: bool = False
    of: Of = "reasoning"
    seed: int = 0

    def draw(self, occasion: int, group: int, rollout: int) -> float:
        """Return what a rollout is asked for: an effort, or a whole number of tokens."""
        place = f"{self.seed}/{occasion}/{group}" + (f"/{rollout}" if self.per_rollout else "")
        chance = random.Random(place)
        if self.values is not None:
            return chance.choice(self.values)
        if self.kind == "tokens":
            return chance.randint(int(self.low), int(self.high))
        return round(chance.uniform(self.low, self.high), PLACES)

    def length(self, tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> int:
        """Count the tokens of a completion that count as effort."""
        return reasoning_length(tokenizer, ids) if self.of == "reasoning" else len(ids)

    def in_hindsight(self, queries: Sequence[str], lengths: Sequence[int]) -> list[float]:
        """Return what would have asked for these lengths: relative to the query's average among them, within range.

        A query that stands there once is taken relative to all of them. [ours]
        """
        if self.kind == "tokens":
            return [min(max(length, self.low), self.high) for length in lengths]
        of_query: dict[str, list[int]] = {}
        for query, length in zip(queries, lengths, strict=True):
            of_query.setdefault(query, []).append(length)
        overall = statistics.fmean(lengths)
        averages = {query: statistics.fmean(known) if len(known) > 1 else overall for query, known in of_query.items()}
        ratios = [length / averages[query] for query, length in zip(queries, lengths, strict=True)]
        if self.values is None:
            return [round(min(max(ratio, self.low), self.high), PLACES) for ratio in ratios]
        known_values = self.values
        return [min(known_values, key=lambda value: abs(value - ratio)) for ratio in ratios]

    def words(self, asked: float) -> str:
        """Return what the prompt says of it."""
        return self.wording.replace("{effort}", f"{asked:g}").replace("{tokens}", f"{asked:.0f}")

    def dress(self, messages: Sequence[Message], asked: float) -> list[Message]:
        """Return the messages with the words behind the last one's."""
        *before, last = messages
        return [*before, {**last, "content": last["content"] + self.words(asked)}]

    @property
    def longest_words(self) -> str:
        """Return the words of the value that takes most of them."""
        fine = [self.low, self.high, self.high - 10**-PLACES] if self.kind == "relative" else [self.high]
        return max((self.words(value) for value in self.values or fine), key=len)

    def bucket(self, asked: float) -> str:
        """Name the range that an asked value is reported in: its own value, or one of four equal parts."""
        if self.values is not None or self.low == self.high:
            return f"{asked:g}"
        width = (self.high - self.low) / NUM_BUCKETS
        index = min(int((asked - self.low) / width), NUM_BUCKETS - 1)
        digits = 2 if self.kind == "relative" else 0
        return f"{self.low + index * width:.{digits}f}-{self.low + (index + 1) * width:.{digits}f}"


@dataclass
class AverageLengths:
    """Keep every query's average length, in tokens: T_avg of e1.

    `running` keeps an exponential average over the steps that saw the query, from the group's mean on; without it
    T_avg is the group's own mean. `correct_only` averages over right completions, where a query has any. [ours]
    """

    running: bool = True
    correct_only: bool = True
    decay: float = 0.9
    kept: dict[str, float] = field(default_factory=dict)

    def of_group(self, query: str, lengths: Sequence[int], correct: Sequence[bool | None]) -> float:
        """Return T_avg for a group of completions of one query, before they are taken into account."""
        if self.running and query in self.kept:
            return self.kept[query]
        return statistics.fmean(self._counted(lengths, correct) or lengths)

    def add(self, query: str, lengths: Sequence[int], correct: Sequence[bool | None]) -> None:
        """Take a group into the running average: kept <- decay kept + (1 - decay) mean, at first the mean itself."""
        counted = self._counted(lengths, correct)
        if not (self.running and counted):
            return
        mean = statistics.fmean(counted)
        before = self.kept.get(query, mean)
        self.kept[query] = self.decay * before + (1 - self.decay) * mean

    def _counted(self, lengths: Sequence[int], correct: Sequence[bool | None]) -> list[int]:
        if not self.correct_only:
            return list(lengths)
        return [length for length, right in zip(lengths, correct, strict=True) if right]

    def state(self) -> dict[str, float]:
        """Return what a checkpoint keeps."""
        return dict(self.kept)

    def restore(self, state: Mapping[str, float]) -> None:
        """Take up what a checkpoint kept."""
        self.kept = dict(state)
