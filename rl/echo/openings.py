"""Openings of a reasoning: the question said again, or as many words that restate nothing.

All leave what follows the opening as it is, to the letter.
"""

from collections.abc import Callable

from rewards.echoes import reasoning_span

TEMPLATE = "Okay, let me see. The problem is asking: {question}"
"""The paper's opening (arXiv 2602.06600)."""
NEUTRAL = (
    "Okay, this wants some care. There is no hurry here. I should go on slowly and keep a calm head, with one thing "
    "after another. It helps to be patient and to look closely before I go on. Nothing needs to be rushed. "
)
"""Words that restate nothing [ours]: told again and again until they are as long as the echo."""


def opened_with(opening: str, text: str) -> str:
    """Return the text with an opening of its reasoning, and what follows untouched."""
    start, _ = reasoning_span(text)
    rest = text[start:]
    space = rest[: len(rest) - len(rest.lstrip())]
    return text[:start] + space + opening.strip() + ("\n" if "\n" in space or not space else " ") + rest.lstrip()


class Neutral:
    """Neutral words of any length; `count` says how many tokens a text has."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self.count = count
        self._words = NEUTRAL.split()
        self._known: dict[int, str] = {}  # of a length, there is one

    def of(self, tokens: int) -> str:
        """Return words of so many tokens, as near as can be."""
        if tokens not in self._known:
            self._known[tokens] = self._search(tokens)
        return self._known[tokens]

    def before(self, text: str, total: int) -> str:
        """Return a text behind words that make it as near to `total` tokens as can be: where they end, tokens may join.

        The text as it is where that is nearest.
        """
        length = total - self.count(text)
        best, gap = text, abs(length)
        for more in (0, 1, -1, 2, -2):
            if gap == 0:
                break
            opened = opened_with(self.of(max(1, length + more)), text)
            if (found := abs(self.count(opened) - total)) < gap:
                best, gap = opened, found
        return best

    def _search(self, tokens: int) -> str:
        low, high = 1, 2
        while self.count(self._told(high)) < tokens:
            low, high = high, 2 * high
        while low < high:  # the fewest words that are long enough
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.count(self._told(middle)) < tokens else (low, middle)
        enough, short = self._told(low), self._told(max(1, low - 1))
        while self.count(short) < tokens and self.count(f"{short} .") <= tokens:  # dots fill what a word would overfill
            short += " ."
        return min((enough, short), key=lambda text: abs(self.count(text) - tokens))

    def _told(self, number: int) -> str:
        rounds, rest = divmod(number, len(self._words))
        return " ".join([*self._words] * rounds + [*self._words[:rest]])
