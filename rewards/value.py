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
SPELLINGS = """
inch inches in | foot feet ft | yard yd | mile mi | meter metre m | kilometer kilometre km | centimeter centimetre cm
millimeter millimetre mm | gram g | kilogram kg | milligram mg | pound lb | ounce oz | ton | liter litre l
milliliter millilitre ml | gallon | quart | pint | cup | second sec s | minute min | hour hr h | day | week | month
year | dollar usd | cent | euro | degree | radian | mph | watt | joule | newton | volt | unit | people person | acre
"""
UNITS = {
    word: words.split()[0] for line in SPELLINGS.split("\n") for words in line.split("|") for word in words.split()
}
UNITS["percent"] = "%"
"""Words that count as a unit, and the unit that they are: nothing else may stand behind a number."""
AREAS = {"square": "2", "sq": "2", "cubic": "3"}
UNIT = re.compile(
    r"\s*(?:(?P<percent>\\?%)|(?P<degree>\^?\s*\{?\\circ\}?)|"
    r"(?:(?P<area>square|sq|cubic)\s+)?(?P<word>(?<=\s)[A-Za-z]|[A-Za-z]{2,12})"
    r"(?:\s*\^\s*\{?(?P<power>[23])\}?)?)\s*"
)
WRAPPED = re.compile(r"\\(?:text|mathrm|mbox)\s*\{([^{}]{0,40})\}")
SPACES = re.compile(r"\\[,!;: ]|~")
GROUPED = re.compile(r"\{,\}")
INFINITY = re.compile(r"([-+]?)\s*(?:\\infty|inf|infinity|oo)")


@dataclass(frozen=True, slots=True)
class Number:
    """Hold a number as it is written, and its unit: "" for none, "%" for per cent, "meter^2" for square meters."""

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
    text = WRAPPED.sub(r" \1 ", text)
    if not text.strip():
        return ""
    match = UNIT.fullmatch(text)
    if match is None:
        return None
    if match["percent"] or match["degree"]:
        return "%" if match["percent"] else "degree"
    word = match["word"].lower()
    unit = UNITS.get(word) or UNITS.get(word.removesuffix("s"))
    power = AREAS.get(match["area"] or "", match["power"])
    return unit if unit is None or power is None else f"{unit}^{power}"


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
