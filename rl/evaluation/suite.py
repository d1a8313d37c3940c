"""From a recipe to a suite: its data as tasks, its rewards as judges."""

import hashlib
from pathlib import Path
from typing import Any

from rl.evaluation.evaluate import Decoding, EvaluationError, Suite
from rl.parts import build_rubric
from rl.policy import Policy, digest_of
from rl.recipe import dump
from rl.recipe.checks import needs_of
from rl.recipe.sections import Recipe
from rl.sourcing import load_tasks, task_seed

STAGE = 99  # the number of the stage that generated tasks are seeded for: no recipe has so many


def build_suite(recipe: Recipe) -> Suite:
    """Return a recipe's suite. Rewards that need a monitor or an effort dial are left out.

    Generated tasks come from another seed than those of any stage, unless `data.seed` names it; those of a file or of
    the hub are what `data` names, be they trained on or not. Raises DataError, and EvaluationError where nothing says
    what is right.
    """
    rubric = build_rubric(recipe.rewards)
    needs = needs_of(recipe.rewards)
    parts = [name for name in rubric.rewards if not needs.get(name)]
    correct = rubric.named("correct")
    if not correct or not set(correct) <= set(parts):
        raise EvaluationError(f"{recipe.name}: rewards: no part says what is right; there is nothing to evaluate by")
    tasks = load_tasks(recipe.data, task_seed(recipe.seed, STAGE), worked=False)[: recipe.data.limit]
    return Suite(tasks, rubric, parts)


def settings_of(policy: Policy, recipe: Recipe, decoding: Decoding) -> dict[str, Any]:
    """Return all that answers depend on, so that arms which are compared can be seen to differ in nothing else."""
    said = dump(recipe)
    again = decoding.again
    return {
        "model": policy.name,
        "weights": digest_of(Path(policy.name)),
        "system": policy.system,
        "effort": policy.asked if policy.dial else None,
        "wording": policy.dial.wording if policy.dial else None,
        "template": hashlib.sha256(str(policy.tokenizer.chat_template).encode()).hexdigest(),
        "suite": {key: said[key] for key in ("name", "seed", "data", "rewards")},
        "samples": decoding.samples,
        "max_tokens": decoding.max_tokens,
        "temperature": decoding.temperature,
        "again": None if again is None else {"what": again.what, "first": again.first},
        "batch": decoding.batch,
        "seed": decoding.seed,
    }
