"""From a suite and the arms that are wanted to results.json, results.md and results.html."""

from collections.abc import Callable
from pathlib import Path

from rl.evaluation.arms import Wanted, plan_arms
from rl.evaluation.decoding import Decoding
from rl.evaluation.evaluate import EvaluationError
from rl.evaluation.evaluation import Evaluation, Round
from rl.evaluation.page import render
from rl.evaluation.suite import build_suite
from rl.evaluation.tables import markdown
from rl.recipe.suites import SuiteRecipe
from rl.telemetry.jsonl import write_atomically


def run_evaluation(
    wanted: Wanted,
    recipe: SuiteRecipe,
    decoding: Decoding,
    folder: Path,
    begin: Callable[[str, int, int], None],
    heard: Callable[[int], None],
    warn: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Evaluate all arms on a suite, from where an earlier attempt left off, and write what they come to.

    Raises DataError, ModelError, RunError and EvaluationError, as far as can be known before anything is written.
    """
    suite = build_suite(recipe)
    arms = plan_arms(wanted, recipe.data.system)
    for arm in arms:
        if arm.policy.dial is not None and not arm.policy.knows_dial:
            warn(f"{arm.name}: this policy was not trained to be asked for a length; it may pay no heed")
    found = Round(arms, recipe, suite, decoding, folder).run(begin, heard)
    write_pages(found, folder)
    return found


def write_pages(found: Evaluation, folder: Path) -> None:
    """Write results.md and results.html. Raises EvaluationError."""
    try:
        for name, text in (("results.md", markdown(found)), ("results.html", render(found))):
            write_atomically(folder / name, text.encode("utf-8", "replace").decode())
    except OSError as error:
        raise EvaluationError(f"{error.filename or folder}: {error.strerror}") from None
