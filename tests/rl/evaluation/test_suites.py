"""Suites: those with a name, the user's own copies of their rows, what gold and shuffled answers come to."""

import hashlib
import itertools
import json
import random
from pathlib import Path

import pytest
from reference.command import rhythm

from rl.data import DataError
from rl.evaluation.evaluate import Suite
from rl.evaluation.suite import build_suite
from rl.generate import Reply
from rl.recipe import RecipeError, load, shipped_names
from rl.recipe.data_sections import Benchmark
from rl.recipe.seeds import task_seed
from rl.recipe.suites import SUITES, LocalJudge, SuiteRecipe, load_suite
from rl.sourcing import load_tasks

JUDGE = "judge={kind: local, name: here}"


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def right(suite: Suite, answers: list[str]) -> float:
    """Return the share of tasks that are right where these are the answers."""
    told = [
        Reply(task.question, f"<think>So.</think><answer>{answer}</answer>", 9, 5)
        for task, answer in zip(suite.tasks, answers, strict=True)
    ]
    judged = [suite.judge(task, reply)[1] for task, reply in zip(suite.tasks, told, strict=True)]
    return sum(map(bool, judged)) / len(judged)


def test_countdown_is_512_fixed_problems_that_no_stage_has() -> None:
    recipe = load_suite("countdown")
    suite = build_suite(recipe)
    assert len(suite.tasks) == 512 and all(len(task.facts["numbers"]) == 4 for task in suite.tasks)
    facts = json.dumps([[task.facts["numbers"], task.facts["target"]] for task in suite.tasks])
    assert hashlib.sha256(facts.encode()).hexdigest()[:16] == "052b64f45038062a"
    trained = load("countdown-grpo-uniform", ["data.size=64"])
    seeds = [load_tasks(trained.data, task_seed(seed, stage), worked=False) for seed, stage in ((0, 0), (1, 1))]
    problems = {str(task.facts) for tasks in seeds for task in tasks}
    assert len(problems) == 128 and not problems & {str(task.facts) for task in suite.tasks}
    assert build_suite(load_suite("countdown", ["seed=7", "data.limit=8"])).tasks == suite.tasks[:8]


def test_gold_answers_score_one_and_shuffled_ones_by_chance() -> None:
    suite = build_suite(load_suite("countdown", ["data.limit=40"]))
    gold = [task.answer for task in suite.tasks]
    shuffled = random.Random(0).sample(gold, len(gold))
    assert right(suite, gold) == 1.0 and right(suite, shuffled) <= 1 / 40  # other numbers are never right
    suite = build_suite(load_suite("reasoning_gym", ["data.task=basic_arithmetic", "data.limit=40"]))
    assert right(suite, [task.answer for task in suite.tasks]) == 1.0


def test_chance_by_hand(tmp_path: Path) -> None:
    """Answers 1, 1, 2, 3: the place of a 1 gets a 1 in half of all orders, 2 and 3 their own in a quarter: 3 / 8."""
    rows = [{"question": f"q{n}", "answer": f"so\n#### {n}"} for n in (1, 1, 2, 3)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    suite = build_suite(load_suite("gsm8k", ["data.kind=jsonl", f"data.path={path}"]))
    shares = [right(suite, list(order)) for order in itertools.permutations(["1", "1", "2", "3"])]
    assert sum(shares) / len(shares) == pytest.approx(3 / 8) and max(shares) == 1.0 and min(shares) == 0.0


def test_a_local_copy_keeps_the_columns_of_its_suite(tmp_path: Path, gsm8k: Path) -> None:
    for order in (("data.kind=jsonl", f"data.path={gsm8k}"), (f"data.path={gsm8k}", "data.kind=jsonl")):
        suite = build_suite(load_suite("gsm8k", [*order, "data.limit=30"]))
        assert len(suite.tasks) == 30 and suite.tasks[0].answer == "72"
        assert right(suite, [task.answer for task in suite.tasks]) == 1.0
    path = write_rows(tmp_path / "math.jsonl", [{"problem": "What is $1/2 + 1/2$?", "answer": "1", "level": 1}])
    recipe = load_suite("math500", [f"data={{kind: jsonl, path: {path}}}"])
    assert build_suite(recipe).tasks[0].question.startswith("What is") and recipe.data.system


def test_every_suite_and_every_recipe_makes_one() -> None:
    for name in SUITES:
        local = [JUDGE, "data.path=rows.jsonl"] if name.startswith("deception") else []
        assert load_suite(name, local).name == name
    for name in shipped_names():
        data = load(name).data
        assert isinstance(data, Benchmark) or isinstance(load_suite(name), SuiteRecipe)
    done = rhythm("suites")
    assert done.returncode == 0 and all(name in done.stdout for name in SUITES)


@pytest.mark.parametrize(
    ("name", "changes", "fault"),
    [
        (
            "countdwn",
            (),
            r"countdwn: no suite, no recipe file and no shipped recipe of that name; did you mean countdown",
        ),
        ("countdown", ("data.task=chain_sum",), "rewards.parts.countdown: needs the facts numbers, target"),
        ("countdown", ("data.sise=3",), r"--set data.sise=3: data.sise: unknown key; did you mean size\?"),
        ("countdown", ("rewards.parts.answr={}",), "unknown reward; did you mean answer"),
        ("countdown", (JUDGE,), "judge: has no effect with data of kind reasoning_gym; leave it out"),
        ("deceptionbench_pku", (), "data: needs either `path`, a local file, or `name`"),
        ("deceptionbench_pku", ("data.path=x.json",), "judge: is missing: write judge.kind"),
        ("deceptionbench_aries", ("data.path=x.json", "judge.kind=endpoint"), "judge.url: is missing"),
        ("deceptionbench_aries", ("data.path=x.json", JUDGE, "rewards.parts.format={}"), "rewards: have no effect"),
        ("gsm8k", ("data.kind=jsonl",), "data.path: is missing"),
        (
            "quickstart",
            ("stages.grpo.trainer.steps=5",),
            "steps=5: stages: has no effect on a suite; one of data, judge",
        ),
        ("gsm8k", ("data=null", "data.limit=5"), "data: needs a `kind`"),
        ("gsm8k", ("data=null", "data={kind: jsonl}"), "data.path: is missing"),
        ("gsm8k", ("data=null", "data={limit: 4}", "data={kind: jsonl}"), "data.path: is missing"),
    ],
)
def test_what_is_no_suite_is_said(name: str, changes: tuple[str, ...], fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        load_suite(name, changes)


def test_a_hub_that_cannot_be_reached_is_said_with_a_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(
        DataError, match=r"cannot load 'HuggingFaceH4/MATH-500' .*; take a copy of your own: --set data"
    ):
        build_suite(load_suite("math500"))


def test_a_recipes_benchmark_takes_a_judge(tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    text = "base: tiny-monitor\ndata: {kind: deceptionbench_pku, path: x.json}\nrewards: {parts: {answer: null}}\n"
    text += "stages: [{name: grpo}]\n"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"judge: is missing: write judge.kind"):
        load_suite(str(path))
    suite = load_suite(str(path), ["judge.kind=local", "judge.name=here", "seed=3"])
    assert suite.judge == LocalJudge(kind="local", name="here") and suite.seed == 3
    with pytest.raises(RecipeError, match=r"judge.url: is missing"):
        load_suite(str(path), ["judge.kind=endpoint"])
