"""From a study's file to its runs: which recipe each has, where it lies, what it starts from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rl.comparison.arms import differing, flat
from rl.dashboard.panels import metrics
from rl.recipe import dump
from rl.recipe.faults import Fault, RecipeError, suggestion, validation_faults
from rl.recipe.load import load_over, read_tree, shipped
from rl.recipe.sections import Recipe
from rl.recipe.trainer_sections import Online
from rl.study.sections import Study

FOLDER = "study"


class StudyError(ValueError):
    """Say why a study cannot be conducted, and what would do."""


@dataclass(frozen=True)
class Changes:
    """Hold `key=value` overrides and files that are laid over every recipe of a study."""

    overrides: Sequence[str] = ()
    overlays: Sequence[str] = ()


NOTHING = Changes()


@dataclass(frozen=True)
class PlannedRun:
    """Hold a run to be made: its folder, its recipe, and the run whose last policy it starts from."""

    path: Path
    recipe: Recipe
    arm: str | None
    seed: int
    start: Path | None = None


@dataclass(frozen=True)
class Plan:
    """Hold a study and its runs: those that the arms share, and those of the arms, seed by seed."""

    study: Study
    stage: str
    folder: Path
    shared: Sequence[PlannedRun]
    runs: Sequence[PlannedRun]


def study_names() -> list[str]:
    """List the shipped studies."""
    return sorted(path.stem for path in (shipped("recipes") / FOLDER).glob("*.yaml"))


def read_study(name: str) -> tuple[Study, Path]:
    """Return the study called name (a path, or a shipped study's name), and its file. Raises RecipeError."""
    path = Path(name)
    if not path.is_file() and path.name == name:
        path = shipped("recipes") / FOLDER / f"{path.stem}.yaml"
    if not path.is_file():
        hint = suggestion(name, study_names()).replace("; one of", "; shipped studies:")
        raise StudyError(f"{name}: no study file and no shipped study of that name{hint}")
    tree = read_tree(path)
    try:
        return Study.model_validate(tree), path
    except ValidationError as error:
        faults = [
            Fault(str(path), ".".join(map(str, where)), reason)
            for where, reason in validation_faults(error, tree, Study)
        ]
        raise RecipeError(faults) from None


def narrowed(study: Study, arms: Sequence[str] | None, seeds: Sequence[int] | None) -> Study:
    """Return a study of some of its arms, its controls among them, or of other seeds. Raises StudyError."""
    if arms is None:
        return study if seeds is None else study.model_copy(update={"seeds": list(seeds)})
    unknown = [name for name in arms if name not in study.arms]
    if unknown:
        raise StudyError(f"--arms: {study.name} has no arm {unknown[0]}; arms: {', '.join(study.arms)}")
    against = [name for name in study.against if name in arms]
    if not against or len(set(arms)) < 2:
        raise StudyError(f"--arms: name at least two, and among them a control: {', '.join(study.against)}")
    kept = {name: changes for name, changes in study.arms.items() if name in arms}
    return narrowed(study.model_copy(update={"arms": kept, "against": against}), None, seeds)


def plan(study: Study, path: Path, folder: Path, changes: Changes = NOTHING) -> Plan:
    """Return the runs of a study whose file is path, in folder; `changes` are laid over every run's recipe.

    Raises RecipeError, and StudyError where arms would differ in what the study does not say.
    """
    folder = folder.absolute()
    base = load_over(study.recipe, {}, str(path), path.parent, changes.overrides, changes.overlays)
    names = [stage.name for stage in base.stages]
    stage = study.stage or names[-1]
    if stage not in names:
        raise StudyError(f"{path}: stage: {study.recipe} has no stage {stage}; stages: {', '.join(names)}")
    shared = _shared_runs(study, path, folder, base, changes)
    starts = {run.seed: run for run in shared}
    runs = [
        _arm_run(study, path, folder, name, seed, names, changes, starts.get(seed) or next(iter(shared), None))
        for seed in study.seeds
        for name in study.arms
    ]
    found = Plan(study, stage, folder, shared, runs)
    _check_differences(found, path)
    _check_outcomes(found, path)
    return found


def _shared_runs(study: Study, path: Path, folder: Path, base: Recipe, changes: Changes) -> list[PlannedRun]:
    if study.shared is None:
        return []
    stages, names = study.shared.stages, [stage.name for stage in base.stages]
    if list(names[: len(stages)]) != list(stages) or len(stages) == len(names):
        raise StudyError(
            f"{path}: shared.stages: should be the first of {study.recipe}'s stages ({', '.join(names)}), and not all"
        )
    tree = {"name": f"{study.name}-shared", "stages": [{"name": name} for name in stages]}
    overrides = _of_stages(changes.overrides, stages)
    if not any(isinstance(stage.trainer, Online) for stage in base.stages[: len(stages)]):
        overrides.append("monitor=null")  # there is nothing that it could watch
    recipe = load_over(study.recipe, tree, f"{path}: shared", path.parent, overrides, changes.overlays, partial=True)
    if recipe.model.lora is not None:
        raise StudyError(f"{path}: shared: a policy of LoRA adapters cannot be started from; share no stages")
    seeds = study.seeds if study.shared.seed is None else [study.shared.seed]
    return [
        PlannedRun(folder / "shared" / f"seed{seed}", recipe.model_copy(update={"seed": seed}), None, seed)
        for seed in seeds
    ]


def _arm_run(
    study: Study,
    path: Path,
    folder: Path,
    name: str,
    seed: int,
    stages: Sequence[str],
    changes: Changes,
    start: PlannedRun | None,
) -> PlannedRun:
    tree = {**study.arms[name], "name": f"{study.name}-{name}"}
    overrides = list(changes.overrides)
    if start is not None:
        stages = stages[len(start.recipe.stages) :]
        tree["stages"] = _left(study.arms[name].get("stages"), stages, path)
        policy = start.path / "checkpoints" / start.recipe.stages[-1].name / "final"
        overrides += [f"model.name={json.dumps(str(policy))}", "model.revision=null"]
    said, overrides = f"{path}: arms.{name}", _of_stages(overrides, stages)
    recipe = load_over(study.recipe, tree, said, path.parent, overrides, changes.overlays, partial=True)
    run = folder / "runs" / f"{name}-seed{seed}"
    return PlannedRun(run, recipe.model_copy(update={"seed": seed}), name, seed, start and start.path)


def _left(own: Any, stages: Sequence[str], path: Path) -> list[dict[str, Any]]:
    """Return the stages that are not shared, with what an arm changes in them."""
    named = own if isinstance(own, list) else []
    listed: Mapping[Any, Any] = own if isinstance(own, Mapping) else {one["name"]: one for one in named}
    foreign = [name for name in listed if name not in stages]
    if foreign:
        raise StudyError(f"{path}: arms: {foreign[0]} is shared, or no stage at all; arms change {', '.join(stages)}")
    return [{**(listed.get(name) or {}), "name": name} for name in stages]


def _of_stages(overrides: Sequence[str], stages: Sequence[str]) -> list[str]:
    """Return the overrides without those of other stages."""
    return [
        text
        for text in overrides
        if not text.strip().startswith("stages.") or text.split("=")[0].split(".")[1] in stages
    ]


def _check_outcomes(found: Plan, path: Path) -> None:
    """Raise StudyError for an outcome that no arm would record."""
    recipes = {run.arm: run.recipe for run in found.runs}.values()
    known = dict.fromkeys(key for recipe in recipes for key in metrics(recipe))
    for metric in found.study.outcomes:
        if not any(fnmatchcase(metric, key) for key in known):
            raise StudyError(f"{path}: outcomes: no arm records {metric}{suggestion(metric, known)}")


def _check_differences(found: Plan, path: Path) -> None:
    """Raise StudyError where arms have a key in common, with values that differ, and none of them says it.

    That is what becomes of a recipe's own value where an arm takes another `kind`, whose default stands in its place.
    """
    recipes = [flat(dump(run.recipe)) for run in found.runs if run.seed == found.study.seeds[0]]
    said = [key for changes in found.study.arms.values() for key in flat(changes)]
    for key in differing(recipes):
        values = dict.fromkeys(recipe[key] for recipe in recipes if key in recipe)
        if key != "name" and len(values) > 1 and not any(key == one or key.startswith(one + ".") for one in said):
            raise StudyError(f"{path}: arms: would differ in {key} ({', '.join(values)}) without a word; say it in one")
