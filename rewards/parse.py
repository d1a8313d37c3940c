"""The one place that reads a completion's layout. Everything here is linear in the text and evaluates nothing.

Readers are strict: what is said twice, in another case, with attributes, or inside the reasoning is not said.
"""

import functools
import re

THINK = "think"


@functools.lru_cache(maxsize=64)
def _anything_like(tag: str) -> re.Pattern[str]:
    """Match the tag in any case, closing or not, with spaces or attributes."""
    return re.compile(rf"<\s{{0,3}}/?\s{{0,3}}{re.escape(tag)}(?![\w-])[^<>]{{0,99}}>", re.IGNORECASE)


def check_tag(tag: object) -> None:
    """Raise ValueError for what is no tag name."""
    if not isinstance(tag, str) or not re.fullmatch(r"[A-Za-z][\w-]*", tag):
        raise ValueError(f"tag must be a tag name such as answer, not {tag!r}")


def block(text: str, tag: str) -> str | None:
    """Return the inside of the only <tag>..</tag> in text, stripped; None where there is none, or anything more."""
    found = [match.span() for match in _anything_like(tag).finditer(text)]
    if len(found) != 2:
        return None
    (start, after), (end, last) = found
    return text[after:end].strip() if text[start:after] == f"<{tag}>" and text[end:last] == f"</{tag}>" else None


def mentions(text: str, tag: str) -> bool:
    """Say whether anything like the tag stands in text."""
    return _anything_like(tag).search(text) is not None


def after_reasoning(text: str) -> str | None:
    """Return what follows the reasoning: the whole text where there are no think tags; None where they are broken."""
    if not mentions(text, THINK):
        return text
    if block(text, THINK) is None or not text.lstrip().startswith(f"<{THINK}>"):
        return None
    return text.partition(f"</{THINK}>")[2]


def reasoning(text: str) -> str:
    """Return the reasoning: the only think block, else all of the text, so that no broken layout hides any of it."""
    inside = block(text, THINK)
    return inside if inside is not None and text.lstrip().startswith(f"<{THINK}>") else text.strip()


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


def label(text: str) -> str | None:
    """Return the inside of the label block that follows the reasoning; None where there is not exactly one."""
    rest = after_reasoning(text)
    return None if rest is None or mentions(text[: len(text) - len(rest)], "label") else block(rest, "label")


def final_answer(text: str, tag: str) -> str | None:
    r"""Return the one answer that follows the reasoning; None where there is none, or where there are two.

    It is the inside of <tag>..</tag>; where nothing like that tag is there, of \boxed{..}; else the line behind `####`.
    """
    rest = after_reasoning(text)
    if rest is None:
        return None
    boxes = all_boxed(rest)
    if mentions(text, tag):
        inside = block(text, tag)
        if inside is None or block(rest, tag) is None:
            return None
        inner = all_boxed(inside)
        inside = inner[-1] if len(inner) == 1 else inside
        return inside if set(boxes) <= {inside} else None
    if boxes:
        return boxes[-1] if len(set(boxes)) == 1 else None
    lines = {line for line in lines_after(rest, "####") if line[:1].isdigit() or line[:1] in ("-", "$", "\\")}
    return after_marker(rest, "####") if len(lines) < 2 else None


def all_boxed(text: str) -> list[str]:
    r"""Return the insides of every complete \boxed{..} that is in no other, stripped."""
    found, position, opening = [], 0, r"\boxed{"
    while (start := text.find(opening, position)) >= 0:
        end = _closing_brace(text, start + len(opening) - 1)
        if end is None:
            break  # nothing later in the text closes it, so no later one is whole outside of it
        found.append(text[start + len(opening) : end].strip())
        position = end + 1
    return found


def _closing_brace(text: str, start: int) -> int | None:
    depth = 0
    for match in BRACE.finditer(text, start):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.start()
    return None


BRACE = re.compile(r"[{}]")


def after_marker(text: str, marker: str) -> str | None:
    """Return the rest of the line behind the last marker (GSM8K's `####`), stripped; None where there is none."""
    _, found, rest = text.rpartition(marker)
    return rest.strip().partition("\n")[0].strip() if found else None


def lines_after(text: str, marker: str) -> list[str]:
    """Return the rest of the line behind every marker, stripped."""
    return [part.partition("\n")[0].strip() for part in text.split(marker)[1:]]
