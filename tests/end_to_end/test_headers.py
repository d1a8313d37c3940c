"""What shipped recipes say of themselves: the paper's table and figures, what it costs, and whose every value is.

`python tests/reference/planned.py` writes the figures of the plan anew.
"""

import re

import pytest
from reference.command import rhythm
from reference.planned import PLAN, shape, takes

from rewards import Sample
from rl.parts import build_rubric
from rl.recipe import dump, load, shipped, shipped_names
from rl.sourcing import load_tasks

OURS = [name for name in shipped_names() if not name.startswith(("quickstart", "small", "tiny"))]  # models of our own
SIZED = [name for name in OURS if re.search(r"-[\d.]+b$", name)]
AS = re.compile(r"^# Plan: as ([\w.-]+)$", re.MULTILINE)
UNMARKED = re.compile(r"(- )?(base|name|kind): [\w.-]+$|(- )?\w+:$|\w+: null$")  # structure, and what is taken away
MARKED = re.compile(r".+\S +# .*\[(paper|ours)\].*")
WORDS = re.compile(r".*: >-")


def text_of(name: str) -> str:
    return (shipped("recipes") / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OURS)
def test_a_header_names_table_figures_and_plan(name: str) -> None:
    header = re.match(r"(# .*\n|#   .*\n)+", text_of(name))
    assert header and all(re.search(rf"^# {word}: \S", header[0], re.MULTILINE) for word in ("Table", "Paper", "Plan"))
    assert (PLAN.search(header[0]) is None) != (AS.search(header[0]) is None)


@pytest.mark.parametrize("name", OURS)
def test_every_value_is_the_papers_or_ours(name: str) -> None:
    unmarked, inside = [], None
    for line in text_of(name).splitlines():
        indent = len(line) - len(line.lstrip())
        if inside is not None and indent > inside:
            continue  # a text that began above
        inside = indent if WORDS.match(line) else None
        text = line.strip()
        if text and not text.startswith("#") and not UNMARKED.match(text.split("  #")[0]) and not MARKED.match(line):
            unmarked.append(line)
    assert unmarked == []


@pytest.mark.parametrize("name", [name for name in OURS if PLAN.search(text_of(name))])
def test_the_plan_is_that_of_the_recipe(name: str) -> None:
    found = PLAN.search(text_of(name))
    assert found and found[1] == name and found[4] == takes(name, found[2], int(found[3]))


def test_the_command_says_the_same() -> None:
    name = "countdown-grpo-uniform"
    found = PLAN.search(text_of(name))
    assert found
    model = f"model.name={shape(load(name).model.name)}"
    done = rhythm("plan", name, "--gpu", found[2], "--gpus", found[3], "--set", model)
    assert done.returncode == 0 and f"\ntake {found[4]}; a step is " in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name in OURS if AS.search(text_of(name))])
def test_what_costs_as_another_trains_alike(name: str) -> None:
    found = AS.search(text_of(name))
    assert found and PLAN.search(text_of(found[1]))
    own, other = load(name), load(found[1])
    assert (own.model, own.cluster) == (other.model, other.cluster)
    assert [stage.trainer for stage in own.stages] == [stage.trainer for stage in other.stages]


@pytest.mark.parametrize("name", SIZED)
def test_a_size_changes_the_model_alone(name: str) -> None:
    own, base = dump(load(name)), dump(load(name.rpartition("-")[0]))
    assert own["model"]["name"] != base["model"]["name"]
    own["name"], own["model"]["name"] = base["name"], base["model"]["name"]
    assert own == base


def test_zebra_puzzles_grade_their_own_gold_answers() -> None:
    recipe = load("zebra-grpo-coupled", ["data.size=20"])
    rubric = build_rubric(recipe.rewards)
    tasks = load_tasks(recipe.data, seed=0, worked=False)
    for task, other in zip(tasks, [*tasks[1:], tasks[0]], strict=True):
        for answer in (task.answer, other.answer):
            completion = f"<think>Who lives where.</think><answer>{answer}</answer>"
            parts = rubric.score(Sample(task.question, task.answer, completion, facts=task.facts)).parts
            assert parts == {"answer": float(answer == task.answer), "format": 0.0}
