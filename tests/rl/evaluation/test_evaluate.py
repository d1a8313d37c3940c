"""Evaluations: gold answers score 1, what is broken off goes on to the same results, arms differ in what they say."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from reference.command import rhythm
from reference.scripted import scripted, tiny_policy

from rl.evaluation.decoding import Decoding
from rl.evaluation.evaluate import EvaluationError, evaluate
from rl.evaluation.suite import build_suite, own_settings, shared_settings
from rl.generate import Again
from rl.policy import Policy
from rl.recipe.suites import SuiteRecipe, load_suite
from rl.telemetry.jsonl import read_rows

RECIPE = ("data.limit=10",)


def recipe(*changes: str) -> SuiteRecipe:
    return load_suite("quickstart", [*RECIPE, *changes])


@pytest.fixture
def policy() -> Policy:
    return tiny_policy()


def decoding(**changes: Any) -> Decoding:
    standard = {"samples": 2, "max_tokens": 20, "temperature": 1.0, "batch": 4, "seed": 0}
    return Decoding(**{**standard, **changes})


def run(
    policy: Policy,
    folder: Path,
    how: Decoding,
    of: SuiteRecipe,
    stop_after: int | None = None,
    again: Again | None = None,
) -> Any:
    done: list[int] = []

    def heard(count: int) -> None:
        done.append(count)
        if stop_after is not None and len(done) == stop_after:
            raise KeyboardInterrupt

    suite = build_suite(of)
    settings = {**own_settings(policy, None, again), **shared_settings(of, suite, how)}
    return evaluate(policy, suite, how, folder, settings, lambda *_: None, heard, again)


def test_gold_answers_are_all_right_and_shuffled_ones_at_their_chance(tmp_path: Path) -> None:
    tasks = build_suite(recipe()).tasks
    answers = [task.answer for task in tasks]
    for name, told in {"gold": answers, "shifted": answers[1:] + answers[:1]}.items():
        policy = scripted([f"<think>So it is.</think><answer>{one}</answer>" for one in told])
        results = run(policy, tmp_path / name, decoding(samples=1, max_tokens=40), recipe())
        right = sum(one == other for one, other in zip(told, answers, strict=True)) / len(answers)
        assert results.accuracy.mean == pytest.approx(right) and results.unjudged == 0
        assert results.cut.mean == 0 and results.parts["format"].mean == 0
    assert right < 0.5


def test_tasks_are_none_that_a_stage_trains_on() -> None:
    from rl.recipe.seeds import task_seed
    from rl.sourcing import load_tasks

    own = recipe()
    trained = {task.question for stage in range(2) for task in load_tasks(own.data, task_seed(0, stage), worked=False)}
    tasks = build_suite(own).tasks
    assert len(tasks) == 10 and len({task.question for task in tasks} & trained) <= 2  # sums of few digits repeat


def test_what_was_broken_off_goes_on_to_the_same_results(policy: Policy, tmp_path: Path) -> None:
    whole = run(policy, tmp_path / "whole", decoding(), recipe())
    folder = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        run(policy, folder, decoding(), recipe(), stop_after=2)
    path = folder / "generations.jsonl"
    assert len(read_rows(path)) == 8
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**read_rows(path)[0], "task": 4, "sample": 0}) + '\n{"task": 4, "sam')
    assert run(policy, folder, decoding(), recipe()) == whole
    assert sorted(read_rows(path), key=str) == sorted(read_rows(tmp_path / "whole/generations.jsonl"), key=str)
    with pytest.raises(EvaluationError, match=r"begun with other settings \(temperature\)"):
        run(policy, folder, decoding(temperature=0.5), recipe())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(EvaluationError, match="is no evaluation"):
        run(policy, tmp_path / "other", decoding(), recipe())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"task": True}, r"is no answer of an evaluation \(task: input should be a valid integer\)"),
        ({"correct": "yes"}, r"\(correct: input should be a valid boolean\)"),
        ({"completion": None, "cut": 1}, r"\(completion: .*; cut: .*\)"),
        ({"num_tokens": -1}, r"\(num_tokens: "),
        ({"parts": {"answer": math.nan, "format": 0.0}}, r"\(parts.answer: input should be a finite number\)"),
        ({"parts": {"answer": 0.0}}, "has other parts of the reward than the answers before"),
        ({"completion": "\ud800"}, r"\(completion: .*surrogates not allowed\)"),
        ({"note": "mine"}, r"\(note: extra inputs are not permitted\)"),
    ],
)
def test_a_line_that_is_no_answer_is_named(policy: Policy, tmp_path: Path, change: dict, fault: str) -> None:
    run(policy, tmp_path / "out", decoding(), recipe())
    path = tmp_path / "out" / "generations.jsonl"
    first, *rest = read_rows(path)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in (*rest, {**first, **change})), encoding="utf-8")
    with pytest.raises(EvaluationError, match=rf"{len(rest) + 1}: .*{fault}"):
        run(policy, tmp_path / "out", decoding(), recipe())


def test_reminded_arms_have_the_same_budget(policy: Policy, tmp_path: Path) -> None:
    lengths = {}
    arms = {"plain": None, "question": Again("question"), "neutral": Again("neutral"), "nothing": Again("nothing")}
    for name, again in arms.items():
        how = decoding(samples=1, max_tokens=60, temperature=0.0)
        run(policy, tmp_path / name, how, recipe(), again=again)
        rows = read_rows(tmp_path / name / "generations.jsonl")
        lengths[name] = [row["num_tokens"] for row in rows]
        assert all((row["num_reminder_tokens"] > 0) is (name in ("question", "neutral")) for row in rows)
    assert all(found == [60] * 10 for found in lengths.values())  # an untrained policy never ends


def test_the_command(tmp_path: Path, policy: Policy) -> None:
    policy.model.save_pretrained(tmp_path / "policy")
    policy.tokenizer.save_pretrained(tmp_path / "policy")
    words = ["eval", tmp_path / "policy", "--suite", "quickstart", "--limit", "3", "--max-tokens", "8"]
    done = rhythm(*words, "--out", tmp_path / "out")
    assert done.returncode == 0 and "3 answers to 3 tasks" in done.stdout, done.stdout + done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert results["results"]["tasks"] == 3 and results["suite"]["data"]["limit"] == 3 and results["weights"]
    for extra, fault in (
        (("--samples", "2"), "at temperature 0 all are the same"),
        (("--first", "3"), "--first says where --again comes in"),
        (("--set", "rewards.parts.answer=null"), "no part says what is right"),
    ):
        done = rhythm(*words, *extra, "--out", tmp_path / "out2")
        assert done.returncode == 2 and fault in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "out2").exists()
