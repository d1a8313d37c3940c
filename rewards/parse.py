"""The one place that reads model text. Everything here is linear in the text and evaluates nothing."""

import re
from fractions import Fraction

# A plain number: sign, digits with optional thousands separators, optional decimals; bounded, so that
# hostile digits stay cheap.
NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3}){1,9}|\d{1,40})(?:\.\d{1,40})?")


def last_block(text: str, tag: str) -> str | None:
    """Return the inside of the last complete <tag>..</tag>, stripped; None where there is none."""
    end = text.rfind(f"</{tag}>")
    if end < 0:
        return None
    start = text.rfind(f"<{tag}>", 0, end)
    return None if start < 0 else text[start + len(tag) + 2 : end].strip()


def is_sequence_of_blocks(text: str, tags: tuple[str, ...]) -> bool:
    """Say whether text is exactly one <tag>..</tag> after another, in order, once each, with only space around them."""
    position = 0
    for tag in tags:
        opening, closing = f"<{tag}>", f"</{tag}>"
        if text.count(opening) != 1 or text.count(closing) != 1:
            return False
        start, end = text.index(opening), text.index(closing)
        if text[position:start].strip() or end < start:
            return False
        position = end + len(closing)
    return not text[position:].strip()


def last_boxed(text: str) -> str | None:
    r"""Return the inside of the last \boxed{..} with balanced braces, stripped; None where there is none."""
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    depth = 0
    for index in range(start + len(r"\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[start + len(r"\boxed{") : index].strip()
    return None


def after_marker(text: str, marker: str) -> str | None:
    """Return the rest of the line behind the last marker (GSM8K's `####`), stripped; None where there is none."""
    _, found, rest = text.rpartition(marker)
    return rest.strip().partition("\n")[0].strip() if found else None


def number(text: str) -> Fraction | None:
    """Read a plain decimal number, exactly; None for anything else. Commas count only as thousands separators."""
    text = text.strip()
    return Fraction(text.replace(",", "")) if NUMBER.fullmatch(text) else None
