"""The three versions of a trace: with an echo, without one, and with as many words that restate nothing.

All leave what follows the opening as it is, to the letter.
"""

from collections.abc import Callable, Sequence

from rewards.echoes import reasoning_span

TEMPLATE = "Okay, let me see. The problem is asking: {question}"
"""The paper's opening (arXiv 2602.06600)."""
INSTRUCTION = """\
Below is a question. Restate it in your own words in one or two sentences, as somebody would who begins to think about \
it: say what is given and what is asked for, with all numbers. Do not solve it, and write nothing else.

Question: {question}"""
"""What a teacher is asked that writes the echo itself [ours]."""
NEUTRAL = (
    "Okay, this wants some care. There is no hurry here. I should go on slowly and keep a calm head, with one thing "
    "after another. It helps to be patient and to look closely before I go on. Nothing needs to be rushed. "
)
"""Words that restate nothing [ours]: told again and again until they are as long as the echo."""
CLOSEST = 2  # tokens that a matched version may be longer or shorter


def opened_with(opening: str, text: str) -> str:
    """Return the text with an opening of its reasoning, and what follows untouched."""
    start, _ = reasoning_span(text)
    rest = text[start:]
    space = rest[: len(rest) - len(rest.lstrip())]
    return text[:start] + space + opening.strip() + ("\n" if "\n" in space or not space else " ") + rest.lstrip()


def matched_opening(tokens: int, count: Callable[[str], int]) -> str:
    """Return neutral words of so many tokens, as near as can be; `count` says how many a text has."""
    words = NEUTRAL.split()
    low, high = 1, 2
    while count(_told(words, high)) < tokens:
        low, high = high, 2 * high
    while low < high:  # the fewest words that are long enough
        middle = (low + high) // 2
        low, high = (middle + 1, high) if count(_told(words, middle)) < tokens else (low, middle)
    enough, short = _told(words, low), _told(words, max(1, low - 1))
    while count(short) < tokens and count(f"{short} .") <= tokens:  # dots fill what a word would overfill
        short += " ."
    return min((enough, short), key=lambda text: abs(count(text) - tokens))


def _told(words: Sequence[str], number: int) -> str:
    rounds, rest = divmod(number, len(words))
    return " ".join([*words] * rounds + [*words[:rest]])
