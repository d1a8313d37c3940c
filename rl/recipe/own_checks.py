"""What is wrong with a credit rule or with tasks of the user's own, as far as that shows before they are called."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from rewards.own import named
from rl.recipe.credit_sections import Own
from rl.recipe.data_sections import PythonTasks
from rl.recipe.sections import Recipe
from rl.recipe.trainer_checks import Fault, Place


def own_faults(recipe: Recipe) -> Iterator[Fault]:
    """Yield what is wrong with every function that a recipe names."""
    places: list[Place] = [[], *(["stages", index] for index in range(len(recipe.stages)))]
    for place, holder in zip(places, [recipe, *recipe.stages], strict=True):
        if isinstance(holder.data, PythonTasks):
            yield from _function_faults(holder.data.tasks, holder.data.options, [*place, "data"], "tasks", "a seed")
        if isinstance(holder.credit, Own):
            credit, inside = holder.credit, [*place, "credit"]
            yield from _function_faults(credit.rule, credit.options, inside, "rule", "signals")


def _function_faults(path: str, options: Mapping[str, Any], place: Place, key: str, given: str) -> Iterator[Fault]:
    try:
        found = named(path)
    except LookupError as error:
        yield [*place, key], str(error.args[0])
        return
    if not callable(found) or inspect.iscoroutinefunction(found):
        kind = "asynchronous" if callable(found) else f"no function but of type {type(found).__name__}"
        yield [*place, key], f"{path}: is {kind}; it is called with {given} and the options"
        return
    try:
        signature = inspect.signature(found)
    except ValueError:  # built in C, without a signature
        return
    try:
        signature.bind_partial(None)
    except TypeError as error:
        yield [*place, key], f"{path}: should be called with {given} first: {error}"
        return
    try:
        signature.bind(None, **options)
    except TypeError as error:
        yield [*place, "options"], f"{path}: {error}"
