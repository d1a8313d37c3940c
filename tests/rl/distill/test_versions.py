"""One trace and its three versions, by hand and as properties; what does not hold is no row."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import Rubric, find
from rewards.echoes import Rule
from rewards.echoes import find as find_echo
from rewards.sentences import overlaps
from rl import tiny
from rl.data import Task
from rl.distill.leaks import HeldOut
from rl.distill.versions import CLOSEST, Verifier, Versions, template_opening
from rl.echo.openings import NEUTRAL, Neutral, opened_with
from rl.endpoint import Answer

TASK = Task("rows:1", "Tom has 3 apples. He buys 4 more. How many apples does he have?", "7")
TRACE = "<think>First, 3 + 4 = 7. So it is seven.</think><answer>7</answer>"
ECHO = f"<think>Okay. We are told: {TASK.question} First, 3 + 4 = 7.</think><answer>7</answer>"


@pytest.fixture(scope="module")
def count() -> Callable[[str], int]:
    tokenizer = tiny.build_tokenizer()
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])  # pyright: ignore


@pytest.fixture(scope="module")
def verifier(count: Callable[[str], int]) -> Verifier:
    rubric = Rubric({"answer": find("answer")(), "format": find("format")()}, {"answer": 1.0, "format": 0.2})
    return Verifier(rubric, Rule(), overlaps, Neutral(count))


def versions(verifier: Verifier, trace: str) -> Versions:
    found = verifier.versions(TASK, trace, template_opening(TASK))
    assert isinstance(found, Versions), found
    return found


def test_an_echo_is_inserted_and_nothing_else_changes(verifier: Verifier) -> None:
    made = versions(verifier, TRACE)
    assert made.echo.completion == (
        "<think>Okay, let me see. The problem is asking: Tom has 3 apples. He buys 4 more. How many apples does he "
        "have?\nFirst, 3 + 4 = 7. So it is seven.</think><answer>7</answer>"
    )
    assert made.plain.completion == TRACE
    assert (made.echo.edit, made.plain.edit, made.matched.edit) == ("inserted", "none", "padded")


def test_an_echo_is_deleted_and_nothing_else_changes(verifier: Verifier) -> None:
    made = versions(verifier, ECHO)
    assert made.echo.completion == ECHO
    assert made.plain.completion == "<think>First, 3 + 4 = 7.</think><answer>7</answer>"
    assert (made.echo.edit, made.plain.edit) == ("none", "deleted")


@pytest.mark.parametrize("trace", [TRACE, ECHO])
def test_the_matched_version_is_as_long_and_restates_nothing(
    verifier: Verifier, count: Callable[[str], int], trace: str
) -> None:
    made = versions(verifier, trace)
    assert made.echo.tokens == count(made.echo.completion) and made.plain.tokens == count(made.plain.completion)
    assert abs(made.matched.tokens - made.echo.tokens) <= CLOSEST
    assert made.matched.opening_tokens >= 10 and not verifier.has_echo(TASK, made.matched.completion)
    assert made.matched.completion.endswith(made.plain.completion.removeprefix("<think>"))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(tokens=st.integers(1, 300))
def test_neutral_words_come_to_any_length(count: Callable[[str], int], tokens: int) -> None:
    told = Neutral(count).of(tokens)
    assert abs(count(told) - tokens) <= CLOSEST or tokens < count("Okay,")
    assert NEUTRAL.startswith(told.rstrip(" .")[:20])


WORK = st.lists(
    st.sampled_from(["First, 3 + 4 = 7.", "So it is seven.", "Hm.", "\n", "That is it!"]), min_size=1, max_size=6
)
QUESTIONS = st.lists(
    st.sampled_from(["Tom has 3 apples.", "He buys 4 more!", "Why?", "What is 3 + 4?", "Solve: x = 2."]),
    min_size=1,
    max_size=4,
).map(" ".join)


@settings(deadline=None, derandomize=True)
@given(
    QUESTIONS, WORK.map(" ".join), st.sampled_from(["{}", "<think>{}</think><answer>7</answer>", "<think>\n{}</think>"])
)
def test_what_was_inserted_is_found_and_can_be_deleted_again(question: str, work: str, layout: str) -> None:
    trace = layout.format(work)
    if find_echo(question, trace) is not None:
        return
    opening = template_opening(Task("rows:1", question, ""))
    text = opened_with(opening, trace)
    found = find_echo(question, text)
    assert found is not None and text[found.start : found.end] == opening
    assert text[found.end :].split() == trace[len(layout.partition("{")[0].rstrip()) :].split()


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (Answer(TRACE, cut=True), "cut off"),
        (Answer(" \n"), "empty"),
        (Answer(TRACE.replace("<answer>7", "<answer>8")), "wrong answer"),
        (Answer("7"), "wrong answer"),
        (Answer(f"{TRACE} So."), "punished by format"),
        (Answer(TRACE.replace("So it", "and on and on " * 40 + "So it")), "repeats itself"),
        (Answer("<html><body>502 Bad Gateway</body></html>"), "wrong answer"),
    ],
)
def test_what_is_no_worked_answer(verifier: Verifier, trace: Answer, reason: str) -> None:
    assert verifier.trace_fault(TASK, trace) == reason
    assert verifier.trace_fault(TASK, Answer(TRACE)) is None


def test_an_opening_that_does_not_hold_makes_no_row(verifier: Verifier) -> None:
    for opening, reason in (
        ("", "no opening to insert"),
        ("Here is a question about fruit.", "with an echo: the edit is not what was found"),
        (f"{TASK.question} </think><answer>8</answer>", "with an echo: wrong answer"),
    ):
        assert verifier.versions(TASK, TRACE, opening) == reason
    assert verifier.versions(Task("rows:1", TASK.question, ""), TRACE, "x") != ""


def test_what_is_evaluated_on_is_known_by_its_words() -> None:
    held_out = HeldOut(["Tom has 3 apples. He buys 4 more.", "What is 2 + 2?"], 5)
    assert held_out.leaks("Now TOM has 3 apples, he eats one.")  # tom has 3 apples he
    assert held_out.leaks("what is 2+2")  # all of its words
    assert not held_out.leaks("What is 2 + 2 + 2?") and not held_out.leaks("Tom has 3 pears. He buys 4 more.")
    assert not HeldOut([], 5).leaks("Tom has 3 apples.")
