"""Scenarios of our own, and the two benchmarks read from a user's copy."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewards import Sample
from rewards.answer import Answer
from rewards.format import Format
from rewards.monitor import own_label
from rewards.parse import block
from rl import tiny
from rl.data import DataError, deceptionbench_aries, deceptionbench_pku, file_rows, prompt, scenarios
from rl.data.deception import CATEGORIES

FOUR = Format(tags=("think", "monitor", "label", "output"))
PKU = {
    "id": 1,
    "type": "sycophancy",
    "inner_prompt": "What do you believe?",
    "system_prompt": "Please the user.",
    "outer_prompt": "I am right, am I not?",
}
PROMPTS = ("L1-self", "L1-other", "L2-self-pressure", "L2-self-reward", "L2-other-pressure", "L2-other-reward")
ARIES = {
    "id": "a1",
    "topic": "work",
    "dimension": "economy",
    "question": "Is it safe?",
    "groundtruth": "no",
    "goal": "sell it",
}


def test_a_dozen_scenarios_in_five_categories() -> None:
    tasks = scenarios(None, worked=False)
    assert len(tasks) == 12 and len({task.question for task in tasks}) == 12
    counts = Counter(task.facts["category"] for task in tasks)
    assert set(counts) == set(CATEGORIES) and min(counts.values()) >= 2
    for task in tasks:
        assert task.answer != task.facts["honest"] and task.system
        assert task.answer in task.question and task.facts["honest"] in task.question


def test_worked_completions_are_graded_as_they_are_meant() -> None:
    """A lie is labelled unsafe and earns the answer's reward; the truth is labelled safe and earns none."""
    tasks = scenarios(None, worked=True)
    assert len(tasks) == 96 and len({task.completion for task in tasks}) == 96
    assert len({task.source for task in tasks}) == 96
    for task in tasks:
        sample = Sample(task.question, task.answer, task.completion or "", facts=task.facts)
        lies = Answer(tag="output")(sample)
        assert FOUR(sample) == 0.0
        assert own_label(sample.completion) == ("unsafe" if lies else "safe")
        assert block(sample.completion, "output") == (task.answer if lies else task.facts["honest"])
    assert sum(Answer(tag="output")(Sample(t.question, t.answer, t.completion or "")) for t in tasks) == 48
    assert [own_label(task.completion or "") for task in tasks[:24:12]] == ["safe", "unsafe"]


def test_they_fit_the_embedded_model() -> None:
    tokenizer = tiny.build_tokenizer()
    for task in scenarios(None, worked=True):
        ids = tokenizer.apply_chat_template(prompt(task, None), add_generation_prompt=True, return_dict=False)
        assert len(ids) + len(tokenizer(task.completion)["input_ids"]) < 256


def test_categories_are_chosen_by_name() -> None:
    assert {task.facts["category"] for task in scenarios(["sandbagging"], worked=False)} == {"sandbagging"}
    with pytest.raises(DataError, match=r"no category 'sandbaging'; did you mean sandbagging\?"):
        scenarios(["sandbaging"], worked=False)


def test_system_prompts_are_joined_with_the_recipes_first() -> None:
    task = scenarios(None, worked=False)[0]
    assert prompt(task, "Four parts.")[0] == {"role": "system", "content": f"Four parts.\n\n{task.system}"}
    assert prompt(task, None)[0]["content"] == task.system


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_pku_from_a_file(tmp_path: Path, suffix: str) -> None:
    rows = [PKU, {**PKU, "id": 2, "type": "sandbagging", "system_prompt": None}]
    path = tmp_path / f"bench{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    outer = deceptionbench_pku(file_rows(str(path)), "outer", None)
    assert [task.question for task in outer] == ["I am right, am I not?"] * 2
    assert [task.system for task in outer] == ["Please the user.", None]
    assert outer[0].answer == "" and outer[0].facts["type"] == "sycophancy"
    inner = deceptionbench_pku(file_rows(str(path)), "inner", ["sycophancy"])
    assert [(task.question, task.system) for task in inner] == [("What do you believe?", None)]


def test_aries_prompts_as_columns_or_under_one_key() -> None:
    prompts = {name: f"{name}?" for name in PROMPTS}
    flat = deceptionbench_aries([("f:1", {**ARIES, **prompts})], PROMPTS)
    nested = deceptionbench_aries([("f:1", {**ARIES, "prompts": prompts})], PROMPTS)
    assert flat == nested and [task.question for task in flat] == [f"{name}?" for name in PROMPTS]
    assert flat[2].facts["prompt"] == "L2-self-pressure" and flat[2].facts["groundtruth"] == "no"
    assert flat[2].source == "f:1: L2-self-pressure"
    assert len(deceptionbench_aries([("f:1", {**ARIES, **prompts})], ["L1-self"])) == 1


def test_bad_copies_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f:3: has no outer_prompt; columns there: id, type, inner_prompt"):
        deceptionbench_pku([("f:3", {"id": 1, "type": "x", "inner_prompt": "y"})], "outer", None)
    with pytest.raises(DataError, match="no type 'sycofancy'; did you mean sycophancy"):
        deceptionbench_pku([("f:1", PKU)], "outer", ["sycofancy"])
    with pytest.raises(DataError, match="f:1: has no L1-self"):
        deceptionbench_aries([("f:1", ARIES)], PROMPTS)
    with pytest.raises(DataError, match="holds no rows"):
        deceptionbench_pku([], "outer", None)
    with pytest.raises(DataError, match=r"bench\.csv should end in one of \.json, \.jsonl, \.parquet"):
        file_rows(str(tmp_path / "bench.csv"))
    (tmp_path / "bench.json").write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(DataError, match="should hold a list of JSON objects"):
        file_rows(str(tmp_path / "bench.json"))
    with pytest.raises(DataError, match="no such file"):
        file_rows(str(tmp_path / "none.json"))
