"""Read an answer as an exact value: a number with its unit, an interval, or a set of numbers. Evaluates nothing."""

import functools
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

MAX_CHARACTERS = 200
WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,9}|[0-9]{1,40})"  # bounded, so that hostile digits stay cheap
DECIMAL = rf"(?:{WHOLE}(?:\.[0-9]{{1,40}})?|\.[0-9]{{1,40}})"
FRACTION = rf"(?:\\[dt]?frac\s*\{{\s*(-?{DECIMAL})\s*\}}\s*\{{\s*({DECIMAL})\s*\}}|({DECIMAL})\s*/\s*({DECIMAL}))"
NUMBER = re.compile(rf"([-+]?)\s*(?:({WHOLE})\s*(?=\\[dt]?frac)|({WHOLE})\s+(?=[0-9]+\s*/))?(?:{FRACTION}|({DECIMAL}))")
UNIT_WORDS = r"[A-Za-z]{2,20}(?:[ -][A-Za-z]{2,20})?"
UNIT = re.compile(
    r"\s*(?:(?P<percent>\\?%)|\^?\s*\{?\\circ\}?|"
    rf"(?:\\(?:text|mathrm|mbox)\s*\{{\s*(?P<named>{UNIT_WORDS}|[A-Za-z])\s*\}}|(?P<word>{UNIT_WORDS}|(?<=\s)[gmsLhkN]))"
    r"(?:\s*\^\s*\{?[23]\}?)?)\s*"
)
JOINERS = frozenset({"or", "and", "not", "nor", "but", "if"})
SPACES = re.compile(r"\\[,!;: ]|~")
GROUPED = re.compile(r"\{,\}")
INFINITY = re.compile(r"([-+]?)\s*(?:\\infty|inf|infinity|oo)")


@dataclass(frozen=True, slots=True)
class Number:
    """Hold a number as it is written, and its unit: "" for none, "%" for per cent."""

    value: Fraction
    unit: str = ""

    def equals(self, other: "Number") -> bool:
        """Compare values; two units must agree, one alone is passed over. 50 % is 50 and 1/2."""
        if self.unit and other.unit and self.unit != other.unit:
            return False
        if self.value == other.value:
            return True
        return any(
            left.unit == "%" and not right.unit and left.value / 100 == right.value
            for left, right in ((self, other), (other, self))
        )


@dataclass(frozen=True, slots=True)
class Collection:
    """Hold an interval or tuple in its brackets, in order, or a set, sorted and without repetition."""

    kind: Literal["()", "(]", "[)", "[]", "{}"]
    members: tuple[Fraction | float, ...]


Value = Number | Collection


@functools.lru_cache(maxsize=4096)
def read_value(text: str) -> Value | None:
    """Read a plain answer exactly; None for anything else. Commas in a number count only as thousands separators."""
    if len(text) > MAX_CHARACTERS or not text.isascii():
        return None
    text = SPACES.sub(" ", GROUPED.sub(",", text)).replace(r"\left", "").replace(r"\right", "")
    text = text.strip().strip("$").removesuffix(".").removeprefix(r"\$").strip()
    number = _number(text)
    return number if number is not None else _collection(text)


def _number(text: str) -> Number | None:
    match = NUMBER.match(text)
    if match is None:
        return None
    value = _value(match)
    unit = _unit(text[match.end() :])
    return None if value is None or unit is None else Number(value, unit)


def _value(match: re.Match[str]) -> Fraction | None:
    sign, whole_frac, whole_slash, latex_top, latex_bottom, top, bottom, decimal = match.groups()
    whole = whole_frac or whole_slash
    if decimal is not None:
        if whole is not None:
            return None
        value = _decimal(decimal)
    else:
        above, below = _decimal(latex_top or top), _decimal(latex_bottom or bottom)
        if below == 0 or (whole is not None and (above < 0 or above >= below)):
            return None
        value = above / below + (_decimal(whole) if whole is not None else 0)
    return -value if sign == "-" else value


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _unit(text: str) -> str | None:
    """Return the unit that text is, "" for none; None where it is anything else."""
    if not text.strip():
        return ""
    match = UNIT.fullmatch(text)
    if match is None:
        return None
    if match["percent"]:
        return "%"
    words = (match["named"] or match["word"] or "degrees").lower()
    return None if JOINERS & set(words.replace("-", " ").split()) else _singular(words)


def _singular(words: str) -> str:
    return "%" if words in ("percent", "per cent") else words.removesuffix("s") if len(words) > 2 else words


def _collection(text: str) -> Collection | None:
    text = text.replace(r"\{", "{").replace(r"\}", "}")
    if len(text) < 2 or text[0] not in "([{" or text[-1] not in ")]}" or (text[0] == "{") != (text[-1] == "}"):
        return None
    members = [_member(member) for member in text[1:-1].split(",")]
    if None in members:
        return None
    known = tuple(member for member in members if member is not None)
    kind: Literal["()", "(]", "[)", "[]", "{}"] = text[0] + text[-1]  # pyright: ignore
    return Collection(kind, tuple(sorted(set(known))) if kind == "{}" else known)


def _member(text: str) -> Fraction | float | None:
    text = text.strip()
    infinite = INFINITY.fullmatch(text)
    if infinite is not None:
        return float("-inf") if infinite[1] == "-" else float("inf")
    number = _number(text)
    return number.value if number is not None and not number.unit else None
