"""Tasks from every source, and what bad rows are told."""

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewards import Sample
from rewards.answer import Answer
from rl.data.context import check_fit
from rl.data.sources import Columns, from_hub, from_jsonl, from_parquet, from_reasoning_gym
from rl.data.task import DataError, Task, prompt
from rl.tiny import build_tokenizer

OPTIONS = {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2}


def test_reasoning_gym_tasks_repeat_by_seed() -> None:
    tasks = from_reasoning_gym("chain_sum", 20, 3, OPTIONS, telling="monologue")
    assert tasks == from_reasoning_gym("chain_sum", 20, 3, OPTIONS, telling="monologue")
    assert tasks != from_reasoning_gym("chain_sum", 20, 4, OPTIONS, telling="monologue")
    assert all(task.completion for task in tasks)


def test_reasoning_gym_grades_its_own_gold_answers() -> None:
    reward = Answer()
    for task in from_reasoning_gym("chain_sum", 500, 0, OPTIONS):
        assert reward(Sample(task.question, task.answer, f"<answer>{task.answer}</answer>")) == 1.0
        assert reward(Sample(task.question, task.answer, f"<answer>{int(task.answer) + 1}</answer>")) == 0.0


def test_jsonl_gsm8k_shape(gsm8k: Path) -> None:
    tasks = from_jsonl(str(gsm8k), Columns(answer_after="####", completion="answer"))
    assert len(tasks) == 7473
    assert tasks[0].answer == "72" and tasks[0].source.endswith("train.jsonl:1")
    reward = Answer()
    assert all(reward(Sample(task.question, task.answer, task.completion or "")) == 1.0 for task in tasks)


def test_parquet_equals_jsonl(tmp_path: Path) -> None:
    rows = [{"q": f"{i} + 1 = ?", "a": i + 1} for i in range(5)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    columns = Columns(question="q", answer="a")
    jsonl, parquet = from_jsonl(str(tmp_path / "t.jsonl"), columns), from_parquet(str(tmp_path / "t.parquet"), columns)
    assert [(task.question, task.answer) for task in jsonl] == [(task.question, task.answer) for task in parquet]
    assert jsonl[2] == Task(f"{tmp_path / 't.jsonl'}:3", "2 + 1 = ?", "3")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("", r"t.jsonl:2: the line is empty; delete it"),
        ('{"question": "q", "answer": ', r"t.jsonl:2: not valid JSON at column"),
        ("[1]", r"t.jsonl:2: should be a JSON object, not a list"),
        (
            '{"question": "q"}',
            r"t.jsonl:2: the task has no answer \(column 'answer'\): columns there: question; name the right",
        ),
        ('{"question": "q", "answer": null}', r"t.jsonl:2: the task has no answer \(column 'answer'\): it is null"),
        ('{"question": " ", "answer": "1"}', r"t.jsonl:2: the task has an empty question"),
        ('{"question": ["q"], "answer": "1"}', r"t.jsonl:2: column 'question' should be text or a number, not a list"),
        (
            '{"question": "q", "answer": NaN}',
            r"t.jsonl:2: the task's answer \(column 'answer'\) is nan, which no number",
        ),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"question": "q", "answer": "1"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=fault):
        from_jsonl(str(path), Columns())


def test_a_mark_of_byte_order_is_no_fault(tmp_path: Path) -> None:
    """As editors on Windows write it."""
    (tmp_path / "t.jsonl").write_text('{"question": "q", "answer": "1"}\n', encoding="utf-8-sig")
    assert [task.question for task in from_jsonl(str(tmp_path / "t.jsonl"), Columns())] == ["q"]


def test_a_fact_is_what_records_can_keep(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "1", "day": datetime.date(2026, 1, 1)}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"column 'day': should be what JSON can hold: .*date is not JSON serializable"):
        from_parquet(str(tmp_path / "t.parquet"), Columns(facts={"day": "day"}))


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.jsonl: no such file; data.path is relative to"):
        from_jsonl(str(tmp_path / "nowhere.jsonl"), Columns())
    with pytest.raises(DataError, match=r"nowhere.parquet: no such file"):
        from_parquet(str(tmp_path / "nowhere.parquet"), Columns())
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "q"}\n{"question": "\xe9"}\n')
    with pytest.raises(DataError, match=r"latin.jsonl:2: is not UTF-8 text; convert the file"):
        from_jsonl(str(tmp_path / "latin.jsonl"), Columns())
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"empty.jsonl: holds no rows"):
        from_jsonl(str(tmp_path / "empty.jsonl"), Columns())
    (tmp_path / "bad.parquet").write_text("no parquet", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad.parquet: cannot be read as Parquet"):
        from_parquet(str(tmp_path / "bad.parquet"), Columns())
    with pytest.raises(DataError, match=r"data.name: cannot load 'no/such-set' \(split train\) from the hub"):
        from_hub("no/such-set", None, "train", None, Columns())


def test_unknown_reasoning_gym_names_are_guessed() -> None:
    with pytest.raises(DataError, match="no data set 'chain_sun'; did you mean chain_sum"):
        from_reasoning_gym("chain_sun", 1, 0, {})
    with pytest.raises(DataError, match=r"refuses \{'min_term': 2\}.*options: .*min_terms"):
        from_reasoning_gym("chain_sum", 1, 0, {"min_term": 2})


def test_a_line_separator_inside_a_string_ends_no_row(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"question": "one\u2028two", "answer": "1"}\r\n', encoding="utf-8", newline="")
    assert [task.question for task in from_jsonl(str(path), Columns())] == ["one\u2028two"]


def test_a_missing_marker_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"question": "q", "answer": "so it is 3"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"t.jsonl:1: column 'answer' has no '####' before an answer"):
        from_jsonl(str(path), Columns(answer_after="####"))


def test_a_prompt_longer_than_the_context_is_named() -> None:
    tokenizer = build_tokenizer()
    tasks = [Task("f.jsonl:1", "1 + 1", "2"), Task("f.jsonl:2", "1 + " * 200 + "1", "201")]
    with pytest.raises(
        DataError, match=r"f.jsonl:2: prompt of \d+ tokens and completion of up to 16 do not fit into 128; do it"
    ):
        check_fit(tasks, tokenizer, None, "", 128, 16, "do it")
    check_fit(tasks[:1], tokenizer, "Be brief.", "", 128, 16, "do it")


def test_prompts_are_chat_messages() -> None:
    task = Task("s", "1 + 1", "2")
    assert prompt(task, None) == [{"role": "user", "content": "1 + 1"}]
    assert prompt(task, "Think.")[0] == {"role": "system", "content": "Think."}
