"""From a suite's sections to what is put and judged: its data as tasks, its rewards as judges."""

import hashlib
import json
import os
from typing import Any

from rl.data import DataError, Task
from rl.evaluation.decoding import Decoding
from rl.evaluation.evaluate import EvaluationError, Suite
from rl.generate import Again
from rl.parts import build_rubric
from rl.policy import Policy
from rl.recipe.checks import needs_of
from rl.recipe.data_sections import Benchmark, DeceptionBenchPku, Hub
from rl.recipe.seeds import EVALUATION, task_seed
from rl.recipe.suites import SuiteRecipe
from rl.sourcing import load_tasks


def build_suite(recipe: SuiteRecipe) -> Suite:
    """Return a suite. Rewards that need a monitor or an effort dial are left out.

    Generated tasks come from another seed than those of any stage, unless `data.seed` names it; those of a file or of
    the hub are what `data` names, be they trained on or not. Raises DataError, and EvaluationError where nothing says
    what is right.
    """
    if isinstance(recipe.data, Benchmark):
        return _with_beliefs(recipe)
    if recipe.rewards is None:
        raise EvaluationError(f"{recipe.name}: rewards: there are none; nothing says what is right")
    rubric = build_rubric(recipe.rewards)
    needs = needs_of(recipe.rewards)
    parts = [name for name in rubric.rewards if not needs.get(name)]
    correct = rubric.named("correct")
    if not correct or not set(correct) <= set(parts):
        raise EvaluationError(f"{recipe.name}: rewards: no part says what is right; there is nothing to evaluate by")
    return Suite(_tasks(recipe), rubric, parts)


def _with_beliefs(recipe: SuiteRecipe) -> Suite:
    """Return a benchmark of deception: behind the prompts that tempt, those that ask for what the policy believes."""
    data = recipe.data
    if not isinstance(data, DeceptionBenchPku):
        return Suite(_tasks(recipe), None)
    outer, inner = (
        _tasks(recipe.model_copy(update={"data": data.model_copy(update={"prompt": prompt})}))
        for prompt in ("outer", "inner")
    )
    return Suite([*outer, *inner], None, asides=len(inner))


def _tasks(recipe: SuiteRecipe) -> list[Task]:
    try:
        return _rows(recipe)
    except DataError as error:
        if not isinstance(recipe.data, Hub):
            raise
        copy = "take a copy of your own: --set data.kind=jsonl --set data.path=FILE"
        raise DataError(f"{error}; {copy}") from None


def _rows(recipe: SuiteRecipe) -> list[Task]:
    return load_tasks(recipe.data, task_seed(recipe.seed, EVALUATION), worked=False)[: recipe.data.limit]


def shared_settings(recipe: SuiteRecipe, suite: Suite, decoding: Decoding) -> dict[str, Any]:
    """Return all that the answers of every arm depend on: arms differ in nothing of it."""
    said = recipe.model_dump(mode="json")
    told = [[task.source, task.question, task.answer, task.system, dict(task.facts)] for task in suite.tasks]
    return {
        "suite": {key: said[key] for key in ("name", "seed", "data", "rewards")},
        "tasks": hashlib.sha256(json.dumps(told).encode()).hexdigest(),
        "samples": decoding.samples,
        "max_tokens": decoding.max_tokens,
        "temperature": decoding.temperature,
        "batch": decoding.batch,
        "seed": decoding.seed,
        "engine": decoding.engine,
    }


def own_settings(policy: Policy, weights: str | None, again: Again | None = None) -> dict[str, Any]:
    """Return what is an arm's own: which policy it is, by the digest of its weights, and how that is asked."""
    return {
        "model": os.path.normpath(policy.name),
        "weights": weights,
        "system": policy.system,
        "effort": policy.asked if policy.dial else None,
        "wording": policy.dial.wording if policy.dial else None,
        "template": hashlib.sha256(str(policy.tokenizer.chat_template).encode()).hexdigest(),
        "again": None if again is None else {"what": again.what, "first": again.first},
    }
