"""Is this answer equal to that one: values, words, algebra, and what takes too long."""

import json
import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import Sample, symbolic
from rewards.answer import Answer, is_equal
from rewards.parse import after_marker
from rewards.value import Collection, Number, read_value


def sample(completion: str, answer: str = "12") -> Sample:
    return Sample(question="q", answer=answer, completion=completion)


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("<think>x</think><answer>12</answer>", 1.0),
        ("<answer>12.0</answer>", 1.0),
        ("<answer> +12 </answer>", 1.0),
        ("<answer>13</answer>", 0.0),
        ("<answer>12</answer><answer>13</answer>", 0.0),
        (r"thus \boxed{12}", 1.0),
        ("thus\n#### 12", 1.0),
        ("12", 0.0),
        ("", 0.0),
        ("<answer>__import__('os').system('true')</answer>", 0.0),
    ],
)
def test_answer(completion: str, reward: float) -> None:
    assert Answer()(sample(completion)) == reward


def test_answer_without_a_gold_one_cannot_judge() -> None:
    assert Answer()(sample("<answer>1</answer>", answer=" ")) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", Number(Fraction(7))),
        (" -12 ", Number(Fraction(-12))),
        ("+3", Number(Fraction(3))),
        ("1,234,567", Number(Fraction(1234567))),
        ("1{,}000", Number(Fraction(1000))),
        ("0.5", Number(Fraction(1, 2))),
        (".5", Number(Fraction(1, 2))),
        ("12.", Number(Fraction(12))),
        ("3/4", Number(Fraction(3, 4))),
        (r"-\frac{3}{4}", Number(Fraction(-3, 4))),
        (r"\dfrac{ 3 }{ 4 }", Number(Fraction(3, 4))),
        ("1 1/2", Number(Fraction(3, 2))),
        (r"-1\frac{1}{2}", Number(Fraction(-3, 2))),
        ("50%", Number(Fraction(50), "%")),
        (r"50\%", Number(Fraction(50), "%")),
        ("$18", Number(Fraction(18))),
        (r"\$18.50", Number(Fraction(37, 2))),
        ("5 cm", Number(Fraction(5), "centimeter")),
        ("5 m", Number(Fraction(5), "meter")),
        ("5m", None),
        ("12 m^2", Number(Fraction(12), "meter^2")),
        ("12 million", None),
        ("3pi", None),
        ("3 pi", None),
        ("2ab", None),
        ("12 thirteen", None),
        (r"10\text{ dollars}", Number(Fraction(10), "dollar")),
        (r"12 \text{ square meters}", Number(Fraction(12), "meter^2")),
        (r"30^\circ", Number(Fraction(30), "degree")),
        ("(1, 2]", Collection("(]", (Fraction(1), Fraction(2)))),
        (r"\left(-\infty, \frac{1}{2}\right)", Collection("()", (float("-inf"), Fraction(1, 2)))),
        (r"\{2, 1, 2\}", Collection("{}", (Fraction(1), Fraction(2)))),
        ("1,23", None),
        ("12,3456", None),
        ("1e9", None),
        ("0x10", None),
        ("12 or 13", None),
        ("12 or", None),
        ("13x", None),
        ("1/0", None),
        ("3 5/4", None),
        ("\u0663", None),
        ("\u22125", None),
        ("9" * 41, None),
        ("", None),
        ("nan", None),
        ("(1, 2}", None),
        ("()", None),
    ],
)
def test_read_value(text: str, value: object) -> None:
    assert read_value(text) == value


@given(st.fractions(), st.sampled_from(["{n}/{d}", r"\frac{{{n}}}{{{d}}}"]))
def test_fractions_are_read_exactly(fraction: Fraction, form: str) -> None:
    top, bottom = fraction.numerator, fraction.denominator
    if max(abs(top), bottom) < 10**39:
        assert read_value(form.format(n=top, d=bottom)) == Number(fraction)


@given(st.text(alphabet="0123456789,./%$\\{}()[] frac-+cm", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    value = read_value(text)
    assert value is None or is_equal(text, text)


@pytest.mark.parametrize(
    ("gold", "candidate", "equal"),
    [
        ("1/2", "0.5", True),
        ("1/2", r"\frac{1}{2}", True),
        ("1,072", "1072", True),
        ("1/2", "1/3", False),
        ("1/3", "0.3333", False),
        ("50", r"50\%", True),
        ("0.5", "50%", True),
        ("50%", "0.5", True),
        ("5 cm", "5", True),
        ("5", "5 cm", True),
        ("5 cm", "5 m", False),
        ("5 dollars", "5 dollar", True),
        ("12 cm^2", "12 cm^3", False),
        ("12 m^2", r"12\text{ square meters}", True),
        ("12", "12 million", False),
        ("5", "5 dozen", False),
        ("3", "3pi", False),
        ("6xy", "6", False),
        ("2", "2ab", False),
        ("0", "0 is wrong", False),
        ("12", "12 minus five", False),
        ("5", r"5\text{ thirteen}", False),
        ("3 \\pi", "3\\pi", True),
        ("(1,2]", "(1, 2]", True),
        ("(1,2)", "(1,2]", False),
        (r"\{1,2\}", r"\{2,1\}", True),
        ("(1,2)", "(2,1)", False),
        ("1,2,3", "3,2,1", True),
        ("x + 1", "1 + x", True),
        ("x^2-1", "(x-1)(x+1)", True),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        ("2^{10}", "1024", True),
        ("3", "x=3", True),
        ("12", "13x", False),
        ("Paris", "paris.", True),
        (r"\text{Paris}", "Paris", True),
        ("Paris", "Pairs", False),
        ("Paris", "Paris or Rome", False),
        ("yes", "yesterday", False),
        ("12", "12 or 13", False),
        ("12", "12 and thirteen", False),
    ],
)
def test_equality(gold: str, candidate: str, equal: bool) -> None:
    assert is_equal(gold, candidate) is equal


@pytest.mark.parametrize(
    "candidate", ["9**9**9**9", "9^{9^{9^{9}}}", "2^{1000000}", "9999!", "9" * 41, "(" * 50, "\u00bd"]
)
def test_hopeless_text_never_reaches_algebra(candidate: str) -> None:
    assert not symbolic.can_compare("72", candidate)
    assert is_equal("72", candidate) is False


@pytest.mark.parametrize("candidate", ["2^{10}", r"\frac{\pi}{4}", "x+1", r"\sqrt{2}", "2^{3}+3^{2}", "(x+1)^{2}"])
def test_ordinary_text_does(candidate: str) -> None:
    assert symbolic.can_compare("72", candidate)


HANGS = r"\sum_{n=1}^{99999} \sin(n)^n"  # sympy takes minutes over it


def test_a_comparison_that_hangs_is_cut_off_and_gives_none_and_the_next_one_works() -> None:
    """A gold answer that is no series is compared with none."""
    start = time.monotonic()
    assert is_equal(r"\sum_{n=1}^{9} n", HANGS, seconds=0.3) is None
    assert Answer(seconds=0.3)(sample(f"<answer>{HANGS}</answer>", r"\sum_{n=1}^{8} n")) is None
    assert is_equal("x+72", HANGS, seconds=0.3) is False
    assert time.monotonic() - start < 30
    assert is_equal("y + 1", "1 + y", seconds=30.0) is True


def test_the_comparing_process_ends_with_its_parent() -> None:
    code = """
import os, signal
from rewards import symbolic
symbolic.is_equal("x", "y", 60.0)
print(symbolic._WORKER._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    child = int(done.stdout)
    deadline = time.monotonic() + 30
    while _is_running(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        os.sched_yield()


def _is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_gsm8k_grades_its_own_gold_answers(gsm8k: Path) -> None:
    rows = [json.loads(line) for line in gsm8k.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 7473
    reward = Answer()
    for row in rows:
        gold = after_marker(row["answer"], "####")
        assert gold
        solution = row["answer"].removesuffix(gold)
        assert reward(sample(row["answer"], answer=gold)) == 1.0
        assert reward(sample(f"{solution}1{gold}", answer=gold)) == 0.0
        for form in ("<think>x</think><answer>{}</answer>", r"so \boxed{{{}}}"):
            assert reward(sample(form.format(gold), answer=gold)) == 1.0
            assert reward(sample(form.format(f"1{gold}"), answer=gold)) == 0.0
