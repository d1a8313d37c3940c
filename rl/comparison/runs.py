"""Runs that are compared: what was recorded, and what each was told to do."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards import find
from rl.recipe import RecipeError, dump, resolve
from rl.report.rundata import Row, by_stage, number, read_run
from rl.telemetry.jsonl import read_rows
from rl.telemetry.record import read_recipe


class ComparisonError(ValueError):
    """Say why runs cannot be compared, and what would do."""


@dataclass(frozen=True)
class Run:
    """Hold a run's path, its recipe with every default spelled out, and its metrics by stage."""

    path: Path
    recipe: Mapping[str, Any]
    stages: Mapping[str, list[Row]]

    @property
    def name(self) -> str:
        """Name the run by its folder."""
        return self.path.resolve().name

    def correct(self, stage: str) -> str | None:
        """Return the metric of the part that says what is right in a stage; None where it recorded none."""
        parts = _parts(self.recipe, stage)
        keys = [f"reward/{name}/mean" for name, part in parts.items() if _role(str(name), part) == "correct"]
        rows = self.stages.get(stage, [])
        return next((key for key in keys if any(number(row.get(key)) is not None for row in rows)), None)


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read run directories, which may still be going. Raises ComparisonError and RunError."""
    if not paths:
        raise ComparisonError("name at least one RUN, a run directory, such as runs/*")
    known: dict[Path, Path] = {}
    runs = []
    for path in paths:
        place = path.resolve()
        if place in known:
            raise ComparisonError(f"{path}: is named twice ({known[place]}); a run counts once")
        known[place] = path
        runs.append(_read(path))
    return runs


def _read(path: Path) -> Run:
    recipe = read_recipe(path)
    try:
        read_rows(path / "metrics.jsonl")  # a line that is damaged is a fault here, where a report makes do
        found = read_run(path)
    except OSError as error:
        raise ComparisonError(f"{error.filename or path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ComparisonError(str(error)) from None
    if not found.metrics:
        raise ComparisonError(f"{path}: has recorded no step yet; leave it out, or wait for its first")
    with contextlib.suppress(RecipeError):  # of another version, or with rewards that are not here: as it stands
        recipe = dump(resolve(recipe, str(path / "recipe.json")))
    return Run(path, recipe, by_stage(found.metrics))


def _parts(recipe: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    """Return the parts of a stage's rewards, its own or the recipe's."""
    stages = recipe.get("stages")
    listed = [one for one in stages if isinstance(one, Mapping)] if isinstance(stages, list) else []
    own = next((one.get("rewards") for one in listed if one.get("name") == stage), None)
    rewards = own or recipe.get("rewards")
    parts = rewards.get("parts") if isinstance(rewards, Mapping) else None
    return parts if isinstance(parts, Mapping) else {}


def _role(name: str, part: Any) -> str:
    """Return the role that a part of a reward was given, or else its reward's own."""
    told = part if isinstance(part, Mapping) else {}
    if told.get("role"):
        return str(told["role"])
    try:
        return str(getattr(find(str(told.get("reward") or name)), "role", "add"))
    except LookupError:  # a reward of the user's that is not here
        return "add"
