"""Reading model text: what is found, and what hostile text does not do."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import parse


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("<answer>7</answer>", "7"),
        ("<answer>1</answer> no, <answer> 2 </answer>", "2"),
        ("<answer><answer>3</answer>", "3"),
        ("<answer>4</answer><answer>5", "4"),
        ("</answer><answer>", None),
        ("answer", None),
        ("<answer></answer>", ""),
    ],
)
def test_last_block(text: str, inside: str | None) -> None:
    assert parse.last_block(text, "answer") == inside


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("<think>a</think><answer>1</answer>", True),
        (" <think>a</think>\n<answer>1</answer>\n", True),
        ("<think></think><answer></answer>", True),
        ("<answer>1</answer><think>a</think>", False),
        ("<think>a</think><answer>1</answer><answer>1</answer>", False),
        ("<think>a</think> so <answer>1</answer>", False),
        ("<think>a<answer>1</answer></think>", False),
        ("<think>a</think><answer>1", False),
        ("</think>a<think><answer>1</answer>", False),
        ("", False),
    ],
)
def test_sequence_of_blocks(text: str, ok: bool) -> None:
    assert parse.is_sequence_of_blocks(text, ("think", "answer")) is ok


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{1} \boxed{2}", "2"),
        (r"\boxed{1", None),
        (r"\boxed{}}", ""),
        ("none", None),
    ],
)
def test_last_boxed(text: str, inside: str | None) -> None:
    assert parse.last_boxed(text) == inside


def test_after_marker() -> None:
    assert parse.after_marker("48/2 = <<48/2=24>>24\n#### 1,072\nmore", "####") == "1,072"
    assert parse.after_marker("no marker", "####") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        (" -12 ", -12),
        ("+3", 3),
        ("1,234,567", 1234567),
        ("0.5", Fraction(1, 2)),
        ("1,23", None),
        ("12,3456", None),
        ("1e9", None),
        ("0x10", None),
        ("7 apples", None),
        ("", None),
        ("٣", 3),  # a digit of another script is a digit, and Fraction reads it
        ("9" * 41, None),
    ],
)
def test_number(text: str, value: object) -> None:
    assert parse.number(text) == value


@given(st.text(alphabet="<>/thinkaswer{}\\boxd #0,.", max_size=300))
def test_no_text_raises(text: str) -> None:
    """Whatever is found stands in the text."""
    assert (parse.last_block(text, "answer") or "") in text
    assert parse.is_sequence_of_blocks(text, ("think", "answer")) in (True, False)
    assert (parse.last_boxed(text) or "") in text
    assert (parse.after_marker(text, "####") or "") in text
    assert parse.number(text) is None or any(letter.isdigit() for letter in text)


def test_reading_is_linear_in_hostile_text() -> None:
    """A hundred thousand openings take milliseconds; a quadratic reader would take minutes."""
    text = "<answer>" * 100_000 + "{" * 100_000 + r"\boxed{" * 1000
    start = time.process_time()
    parse.last_block(text, "answer")
    parse.is_sequence_of_blocks(text, ("think", "answer"))
    parse.last_boxed(text)
    parse.number("1," * 100_000)
    assert time.process_time() - start < 2
