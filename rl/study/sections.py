"""What a study says: its recipe, arms, seeds and controls. Field docstrings are the documentation."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from rl.recipe.section import Positive, Section


def _checked_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value):
        raise ValueError(f"{value!r} should be letters, digits and _ . - alone, and begin with a letter or a digit")
    return value


Name = Annotated[str, Field(max_length=60), AfterValidator(_checked_name)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Shared(Section):
    """Stages that are trained before the arms part: every arm starts from the policy that they end with."""

    stages: Annotated[list[str], Field(min_length=1)]
    """The recipe's first stages, by name."""
    seed: Seed | None = None
    """One policy for all, trained with this seed; by default every seed has its own, which its arms start from."""


class Study(Section):
    """Arms that differ in what is said here and in nothing else, each trained with every seed."""

    name: Name
    """Name of the study; an arm's runs are called <study>-<arm>."""
    recipe: str
    """What all arms share: a recipe file, relative to the study's folder, or a shipped recipe's name."""
    shared: Shared | None = None
    """Stages that the arms share."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default=[0, 1, 2, 3, 4])
    """Seeds of tasks, rollouts and weights: runs of one seed are a pair."""
    arms: Annotated[dict[Name, dict[str, JsonValue]], Field(min_length=2)]
    """What each arm changes in the recipe: keys and values, as in a recipe with a `base`. {} changes nothing."""
    against: Annotated[list[str], Field(min_length=1)]
    """Arms that are controls: every other arm is tested against each of them."""
    outcomes: Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1)] = Field(
        default={"reward/total/mean": 0.05}
    )
    """Metrics that arms are compared by, each with a difference that would matter: the table says how many seeds would
    see it."""
    stage: str | None = None
    """The stage that is compared; by default the last."""
    last: Positive = 10
    """Steps at the end whose mean is what an arm comes to."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = [name for name in self.against if name not in self.arms]
        if unknown:
            raise ValueError(f"against: {unknown[0]!r} is no arm; arms: {', '.join(self.arms)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: names a seed twice")
        named = [name for name, changes in self.arms.items() if "base" in changes or "seed" in changes]
        if named:
            raise ValueError(f"arms: {named[0]} says base or seed, which the study says for all")
        return self
