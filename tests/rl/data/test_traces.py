"""Worked completions: careful ones are right, haste is mostly wrong, and all are laid out as the rewards ask."""

import re
from collections import Counter

import pytest

from rewards import Sample
from rewards.answer import Answer
from rewards.format import Format
from rl.data.sources import from_reasoning_gym
from rl.data.traces import FIRST_PART, TRACES
from rl.recipe.data_checks import TELLINGS

OPTIONS = {"min_terms": 3, "max_terms": 4, "min_digits": 1, "max_digits": 1}
TASKS = from_reasoning_gym("chain_sum", 2000, 0, OPTIONS, telling="monologue")
EARLY, LATE = TASKS[: int(FIRST_PART * 2000)], TASKS[int(FIRST_PART * 2000) :]


def right(tasks: list) -> float:
    scores = [Answer()(Sample(task.question, task.answer, task.completion)) for task in tasks]
    return sum(scores) / len(scores)


def total(expression: str) -> int:
    first, *rest = expression.split(" ")
    return int(first) + sum(int(sign + "1") * int(term) for sign, term in zip(rest[::2], rest[1::2], strict=True))


def test_all_are_well_formed() -> None:
    assert all(Format()(Sample(task.question, task.answer, task.completion)) == 0.0 for task in TASKS)


def test_the_curriculum_goes_from_care_to_haste() -> None:
    assert right(EARLY) == 1.0
    assert 0.4 < right(LATE) < 0.65


def test_equations_are_right_but_for_turns_that_are_mended() -> None:
    for task in TASKS:
        equations = re.findall(r"((?:-?\d+ [+-] )+-?\d+) = (-?\d+)", task.completion)
        wrong = [f"{sum_} = {value}" for sum_, value in equations if total(sum_) != int(value)]
        for equation in wrong:
            after = task.completion.partition(equation)[2]
            assert re.match(r"\. (No, |Wait, |That is wrong, |Hmm, no: )", after), task.completion


def test_traces_are_varied() -> None:
    openings = Counter(re.split(r"[\d.]", task.completion)[0] for task in TASKS)
    assert len(openings) >= 10 and max(openings.values()) < 0.2 * len(TASKS)


def test_checks_know_which_tasks_have_traces() -> None:
    assert {telling: set(tasks) for telling, tasks in TELLINGS.items()} == {name: set(TRACES[name]) for name in TRACES}


def test_a_task_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no chain sum"):
        TRACES["monologue"]["chain_sum"]("What is 1 + 2?", "4", {"expression": "1 + 2"}, None, 0.0)
