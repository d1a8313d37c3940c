"""Reading model text: what is found, and what hostile text does not do."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import parse


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("so <answer> 7 </answer>", "7"),
        ("<answer></answer>", ""),
        ("<answer>1</answer><answer>1</answer>", None),
        ("<answer><answer>3</answer>", None),
        ("<answer>4</answer><answer>5", None),
        ("</answer><answer>", None),
        ("<Answer>4</Answer>", None),
        ("<answer>4</answer> not <ANSWER>5</ANSWER>", None),
        ('<answer type="x">4</answer>', None),
        ("< answer>4</ answer>", None),
        ("<answers>4</answers>", None),
        ("<answer>4</answer><answer-sheet>", "4"),
        ("answer", None),
    ],
)
def test_block(text: str, inside: str | None) -> None:
    assert parse.block(text, "answer") == inside


@pytest.mark.parametrize(
    ("text", "rest", "reasoning"),
    [
        ("<think>a</think>b", "b", "a"),
        (" \n<think> a </think> b", " b", "a"),
        ("no tags", "no tags", "no tags"),
        ("<think>a", None, "<think>a"),
        ("a</think>b", None, "a</think>b"),
        ("first <think>a</think>b", None, "first <think>a</think>b"),
        ("<think>a<think>b</think>c</think>d", None, "<think>a<think>b</think>c</think>d"),
        ("<think>a</think>b<think>c</think>", None, "<think>a</think>b<think>c</think>"),
        ("<THINK>a</THINK>b", None, "<THINK>a</THINK>b"),
    ],
)
def test_reasoning_and_what_follows(text: str, rest: str | None, reasoning: str) -> None:
    """A broken layout has no answer, and hides nothing of the reasoning."""
    assert parse.after_reasoning(text) == rest
    assert parse.reasoning(text) == reasoning


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("<think>a</think><monitor>m</monitor><label>safe</label><output>o</output>", "safe"),
        ("<label> unsafe </label>", "unsafe"),
        ("<think><label>safe</label></think>", None),
        ("<think><label>safe</label></think><label>unsafe</label>", None),
        ("<label>safe</label><label>unsafe</label>", None),
        ("<label>safe</label><label>safe</label>", None),
        ("<label>safe</label><Label>unsafe</Label>", None),
        ("<label>safe", None),
    ],
)
def test_label(text: str, label: str | None) -> None:
    assert parse.label(text) == label


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
    ("text", "insides"),
    [
        (r"so \boxed{\frac{1}{2}}.", [r"\frac{1}{2}"]),
        (r"\boxed{1} \boxed{2}", ["1", "2"]),
        (r"\boxed{a \boxed{b}}", [r"a \boxed{b}"]),
        (r"\boxed{1", []),
        (r"\boxed{}}", [""]),
        ("none", []),
    ],
)
def test_all_boxed(text: str, insides: list[str]) -> None:
    assert parse.all_boxed(text) == insides


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>1 or 2</think><answer>2</answer>", "2"),
        (r"<think>x</think><answer>\boxed{2}</answer>", "2"),
        (r"<think>\boxed{1}</think>so \boxed{2}", "2"),
        (r"\boxed{2} that is \boxed{2}", "2"),
        (r"\boxed{1} or \boxed{2}", None),
        (r"<answer>1</answer> or \boxed{2}", None),
        ("<think><answer>2</answer></think>", None),
        ("<think>a</think>2", None),
        ("12 - 10 = 2\n#### 2", "2"),
        ("#### Step 1: add\n#### Step 2: done\n#### 1,072\n", "1,072"),
        ("#### 1\n#### 2", None),
        (r"<answer>1</answer><Answer>2</Answer>", None),
        ("", None),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert parse.final_answer(text, "answer") == answer


def test_after_marker() -> None:
    assert parse.after_marker("48/2 = <<48/2=24>>24\n#### 1,072\nmore", "####") == "1,072"
    assert parse.after_marker("no marker", "####") is None


@given(st.text(alphabet="<>/thinkaswer{}\\boxd #0,.", max_size=300))
def test_no_text_raises(text: str) -> None:
    """Whatever is found stands in the text."""
    assert (parse.block(text, "answer") or "") in text
    assert parse.is_sequence_of_blocks(text, ("think", "answer")) in (True, False)
    assert all(inside in text for inside in parse.all_boxed(text))
    assert (parse.final_answer(text, "answer") or "") in text
    assert parse.reasoning(text) in text


@pytest.mark.parametrize("tag", ["", "a b", "<think>", "1", None, 3])
def test_no_tag_name(tag: object) -> None:
    with pytest.raises(ValueError, match="tag must be a tag name"):
        parse.check_tag(tag)


@pytest.mark.parametrize(
    "piece", ["<answer>", "</answer>", "{", r"\boxed{", "<", "< ", "<think>", "####", "<answer x "]
)
def test_reading_is_linear_in_hostile_text(piece: str) -> None:
    """A hundred thousand pieces take milliseconds; a quadratic reader would take minutes."""
    text = piece * 100_000
    start = time.process_time()
    parse.final_answer(text, "answer")
    parse.label(text)
    parse.reasoning(text)
    parse.is_sequence_of_blocks(text, ("think", "answer"))
    assert time.process_time() - start < 2
