"""Data from real servers that lie, fail and stop half-way: counted, resumed, and never in the data."""

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from reference.command import overrides, rhythm
from reference.served import said

from rl.distill.calls import Calls, DistillError
from rl.endpoint import Answer, Endpoint, Failure, Request
from rl.telemetry.jsonl import read_rows

ROWS = [{"question": f"Tom has {n} apples. He buys 4 more. How many has he?", "answer": str(n + 4)} for n in range(8)]
ECHO = "<think>Tom has {n} apples and buys 4 more. Then {n} + 4 = {sum}.</think><answer>{sum}</answer>"
PLAIN = "<think>First, {n} + 4 = {sum}. Done.</think><answer>{sum}</answer>"


def number_of(body: dict) -> int:
    return int(body["messages"][-1]["content"].split("Tom has ")[1].split()[0])


def told(form: str, body: dict) -> str:
    n = number_of(body)
    return form.format(n=n, sum=n + 4)


def words_for(folder: Path, url: str, *changes: str) -> list[str | Path]:
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    teacher = f"{{kind: endpoint, url: {url}, model: liar, retries: 0, concurrency: 1, timeout_seconds: 5}}"
    common = (f"data={{kind: jsonl, path: {rows}}}", f"distill.teacher={teacher}", "distill.traces=2", "name=apples")
    return ["distill", "quickstart", "--out", folder / "out", *overrides(*common, *changes)]


def rows_of(folder: Path, name: str) -> list[dict]:
    return pyarrow.parquet.read_table(folder / "out" / f"{name}.parquet").to_pylist()


def test_a_teacher_that_fails_in_every_way(serve: Any, tmp_path: Path) -> None:
    """Prompt 0 is held out; 1 is answered with an echo, 2 and 7 without; 3 by a lie; 4 is cut, 5 is HTML, 6 breaks."""

    def answer(number: int, body: dict) -> tuple[int, Any]:
        n = number_of(body)
        if n == 6:
            return 500, {"error": "no"}
        if n == 5:
            return 200, "<html>Bad Gateway</html>"
        form = {1: ECHO, 3: PLAIN.replace("{sum}", "99")}.get(n, PLAIN)
        return 200, said(told(form, body), "length" if n == 4 else "stop")

    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"question": ROWS[0]["question"].lower(), "answer": "4"}) + "\n", encoding="utf-8")
    server = serve(answer)
    words = words_for(tmp_path, server.url, f"distill.held_out=[{{kind: jsonl, path: {held}}}]", "distill.keep=2")
    done = rhythm(*words)
    assert done.returncode == 0, done.stderr
    echo, plain, matched = (rows_of(tmp_path, name) for name in ("echo", "plain", "matched"))
    assert [row["pair"] for row in echo] == [row["pair"] for row in plain] == [row["pair"] for row in matched]
    found = [(row["question"].split()[2], row["edit"]) for row in echo]
    assert found == [("1", "none"), ("2", "inserted"), ("7", "inserted")]
    assert all("The problem is asking: Tom has" in row["completion"] for row in echo[1:])
    assert [row["completion"] for row in plain][1] == PLAIN.format(n=2, sum=6)
    assert plain[0]["completion"] == "<think>Then 1 + 4 = 5.</think><answer>5</answer>"
    assert all(abs(a["tokens"] - b["tokens"]) <= 2 for a, b in zip(echo, matched, strict=True))
    assert {row["teacher"] for row in echo} == {"liar"} and all(row["source"].endswith(":2") for row in echo[:1])
    reasons = Counter(row["reason"] for row in read_rows(tmp_path / "out" / "dropped.jsonl"))
    assert reasons == {
        "held out": 1,
        "wrong answer": 2,
        "cut off": 2,
        "the call failed": 4,
        "the same trace": 3,
    }
    card = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))
    assert card["pairs"] == 3 and card["dropped"] == reasons
    assert card["calls"] == {"traces answered": 10, "traces failed": 4}
    page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| `matched.parquet` | 3 |" in page and "| the call failed | 4 |" in page


def test_a_teacher_that_hangs_is_cut_off_or_repeats_itself(serve: Any, tmp_path: Path) -> None:
    """Prompt 1 is never answered, 2 is cut in its midst, 3 repeats itself to the right answer, 4 is empty."""
    over = threading.Event()

    def answer(number: int, body: dict) -> tuple[int, Any]:
        n = number_of(body)
        if n == 1:
            over.wait(60)
        if n == 2:
            return 200, json.dumps(said(told(PLAIN, body))).encode()[:60]
        loop = "<think>" + "Let me add the apples up once more. " * 30 + "</think><answer>{sum}</answer>"
        return 200, said({3: told(loop, body), 4: " "}.get(n, told(PLAIN, body)))

    server = serve(answer)
    try:
        done = rhythm(*words_for(tmp_path, server.url, "distill.teacher.timeout_seconds=0.5"))
    finally:
        over.set()
    assert done.returncode == 0, done.stderr
    assert [row["question"].split()[2] for row in rows_of(tmp_path, "plain")] == ["0", "5", "6", "7"]
    rows = read_rows(tmp_path / "out" / "dropped.jsonl")
    assert Counter(row["reason"] for row in rows) == {
        "the call failed": 4,
        "repeats itself": 2,
        "empty": 2,
        "the same trace": 4,
    }
    assert {row["detail"].split(":")[0] for row in rows if "detail" in row} == {"APITimeoutError", "APIConnectionError"}


def test_what_failed_is_asked_again_and_nothing_else(serve: Any, tmp_path: Path) -> None:
    broken = True

    def answer(number: int, body: dict) -> tuple[int, Any]:
        if broken and number > 5:
            return 500, {"error": "down"}
        return 200, said(told(PLAIN, body))

    server = serve(answer)
    words = words_for(tmp_path, server.url, "distill.failures=3")
    stopped = rhythm(*words)
    assert stopped.returncode == 2 and "the teacher failed 3 times in a row" in stopped.stderr
    assert "Traceback" not in stopped.stderr and not (tmp_path / "out" / "echo.parquet").exists()
    assert len(server.requests) == 8
    (tmp_path / "out" / "traces.jsonl").open("a").write('{"key": "0-')  # killed while it wrote
    broken = False
    refused = rhythm(*words)
    assert refused.returncode == 2 and "--resume goes on with it" in refused.stderr
    done = rhythm(*words, "--resume")
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 8 + 16 - 5
    assert len(rows_of(tmp_path, "echo")) == 8
    again = rhythm(*words, "--resume")
    assert again.returncode == 0 and len(server.requests) == 8 + 16 - 5
    other = rhythm(*words, "--resume", "--set", "distill.keep=2")
    assert other.returncode == 2 and "was begun with another recipe (distill)" in other.stderr


def test_a_teacher_writes_the_opening_itself(serve: Any, tmp_path: Path) -> None:
    def answer(number: int, body: dict) -> tuple[int, Any]:
        if "Restate it" not in body["messages"][-1]["content"]:
            return 200, said(told(PLAIN, body))
        n = number_of(body)
        opening = "So Tom has {n} apples and he buys 4 more." if n != 3 else "I like fruit."
        return 200, said(opening.format(n=n))

    done = rhythm(*words_for(tmp_path, serve(answer).url, "distill.edit=teacher"))
    assert done.returncode == 0, done.stderr
    echo = rows_of(tmp_path, "echo")
    assert [row["question"].split()[2] for row in echo] == ["0", "1", "2", "4", "5", "6", "7"]
    assert echo[0]["completion"].startswith("<think>So Tom has 0 apples and he buys 4 more.\nFirst, 0 + 4")
    assert "with an echo: the edit is not what was found" in done.stdout


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (("distill=null",), "has no distill section"),
        (
            ("distill.teacher={kind: endpoint, url: http://127.0.0.1:9/v1, model: x}",),
            "the teacher at http://127.0.0.1:9",
        ),
        (("distill.traces=1", "distill.keep=2"), "2 of 1 traces cannot be kept"),
        (("distill.temperature=0",), "at temperature 0 all are the same"),
        (("distill.detection.similarity={kind: embedding, model: ./nowhere}",), "./nowhere: cannot be loaded"),
        (("rewards.parts.answer.weight=0",), "no part says what is right"),
    ],
)
def test_what_cannot_be_made_is_said(serve: Any, tmp_path: Path, changes: tuple, reason: str) -> None:
    server = serve(lambda number, body: (200, said("7")))
    done = rhythm(*words_for(tmp_path, server.url, *changes))
    assert done.returncode == 2 and reason in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists() and not server.requests


def test_a_call_is_kept_by_its_key(tmp_path: Path) -> None:
    class Teacher:
        together = False

        def __init__(self) -> None:
            self.asked: list[str] = []

        def ask(self, requests: Any, heard: Any) -> None:
            for key in requests:
                self.asked.append(key)
                busy = key == "b" and self.asked.count("b") == 1
                heard(key, Failure("busy") if busy else Answer(f"{key}\ud800"))

    teacher, path = Teacher(), tmp_path / "calls.jsonl"
    requests = [[(key, Request([]))] for key in "abc"]
    first = Calls(path)
    first.make(teacher, requests, 5, lambda: None)
    assert first.get("a") == Answer("a?") and first.get("b") is None and first.failed == {"b": "busy"}
    again = Calls(path)
    assert len(again) == 2 and again.failed == {"b": "busy"}
    again.make(teacher, requests, 5, lambda: None)
    assert teacher.asked == ["a", "b", "c", "b"] and again.get("b") == Answer("b?") and not Calls(path).failed
    path.write_text('{"key": 3}\n', encoding="utf-8")
    with pytest.raises(DistillError, match=r"calls.jsonl: byte 0: is no row of ours"):
        Calls(path)


def test_answers_that_are_drawn_together_are_drawn_again_together(tmp_path: Path) -> None:
    """A resumed call of a question draws all of its answers again, and keeps those that it has."""

    class Teacher:
        together = True

        def __init__(self) -> None:
            self.asked: list[list[str]] = []

        def ask(self, requests: Any, heard: Any) -> None:
            self.asked.append(list(requests))
            for number, key in enumerate(requests):
                heard(key, Answer(f"{key} drawn as {number % 3}"))

    groups = [[(f"{question}{number}", Request([])) for number in range(3)] for question in "ab"]
    whole = Calls(tmp_path / "whole.jsonl")
    whole.make(Teacher(), groups, 5, lambda: None)
    torn = tmp_path / "torn.jsonl"
    lines = (tmp_path / "whole.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    torn.write_text("".join(lines[:5]) + lines[5][:9], encoding="utf-8")
    heard: list[int] = []
    resumed, teacher = Calls(torn), Teacher()
    resumed.make(teacher, groups, 5, lambda: heard.append(1))
    assert teacher.asked == [["b0", "b1", "b2"]] and len(heard) == 1
    assert torn.read_text(encoding="utf-8") == "".join(lines)


def test_a_teacher_that_is_not_there(tmp_path: Path) -> None:
    options = {"url": "http://127.0.0.1:9/v1", "model": "x", "key_variable": None, "timeout_seconds": 5.0}
    endpoint = Endpoint(place="distill.teacher", what="teacher", retries=0, concurrency=2, max_tokens=9, **options)
    with pytest.raises(DistillError, match=r"failed 2 times in a row .*APIConnectionError.*is it running"):
        Calls(tmp_path / "calls.jsonl").make(endpoint, [[(key, Request([]))] for key in "abcd"], 2, lambda: None)
