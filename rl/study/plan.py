"""From a study's file to its runs: which recipe each has, where it lies, what it starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rl.comparison.arms import differing, flat
from rl.recipe import dump
from rl.recipe.faults import Fault, RecipeError, suggestion, validation_faults
from rl.recipe.load import load_over, read_tree, shipped
from rl.recipe.sections import Recipe
from rl.study.sections import Study

FOLDER = "study"
STARTED_FROM = ("model.name", "model.revision")


class StudyError(ValueError):
    """Say why a study cannot be conducted, and what would do."""


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


def plan(study: Study, path: Path, folder: Path, overrides: Sequence[str] = ()) -> Plan:
    """Return the runs of a study whose file is path, in folder; `overrides` change every run's recipe.

    Raises RecipeError, and StudyError where arms would differ in what the study does not say.
    """
    folder = folder.absolute()
    base = load_over(study.recipe, {}, str(path), path.parent, overrides)
    names = [stage.name for stage in base.stages]
    stage = study.stage or names[-1]
    if stage not in names:
        raise StudyError(f"{path}: stage: {study.recipe} has no stage {stage}; stages: {', '.join(names)}")
    shared = _shared_runs(study, path, folder, names, overrides)
    starts = {run.seed: run for run in shared}
    runs = [
        _arm_run(study, path, folder, name, seed, names, overrides, starts.get(seed) or next(iter(shared), None))
        for seed in study.seeds
        for name in study.arms
    ]
    found = Plan(study, stage, folder, shared, runs)
    _check_differences(found, path)
    return found


def _arm_run(
    study: Study,
    path: Path,
    folder: Path,
    name: str,
    seed: int,
    stages: Sequence[str],
    overrides: Sequence[str],
    start: PlannedRun | None,
) -> PlannedRun:
    tree = {**study.arms[name], "name": f"{study.name}-{name}"}
    if start is not None:
        stages = stages[len(start.recipe.stages) :]
        tree = _started(tree, start, stages, path)
        overrides = [text for text in overrides if not text.strip().startswith(STARTED_FROM)]
    said = f"{path}: arms.{name}"
    recipe = load_over(study.recipe, tree, said, path.parent, _of_stages(overrides, stages))
    run = folder / "runs" / f"{name}-seed{seed}"
    return PlannedRun(run, recipe.model_copy(update={"seed": seed}), name, seed, start and start.path)


def _of_stages(overrides: Sequence[str], stages: Sequence[str]) -> list[str]:
    """Return the overrides without those of other stages."""
    return [
        text
        for text in overrides
        if not text.strip().startswith("stages.") or text.split("=")[0].split(".")[1] in stages
    ]


def _shared_runs(
    study: Study, path: Path, folder: Path, names: Sequence[str], overrides: Sequence[str]
) -> list[PlannedRun]:
    if study.shared is None:
        return []
    stages = study.shared.stages
    if list(names[: len(stages)]) != list(stages) or len(stages) == len(names):
        raise StudyError(
            f"{path}: shared.stages: should be the first of {study.recipe}'s stages ({', '.join(names)}), and not all"
        )
    tree = {"name": f"{study.name}-shared", "stages": [{"name": name} for name in stages]}
    recipe = load_over(study.recipe, tree, f"{path}: shared", path.parent, _of_stages(overrides, stages))
    seeds = study.seeds if study.shared.seed is None else [study.shared.seed]
    return [
        PlannedRun(folder / "shared" / f"seed{seed}", recipe.model_copy(update={"seed": seed}), None, seed)
        for seed in seeds
    ]


def _started(tree: Mapping[str, Any], start: PlannedRun, stages: Sequence[str], path: Path) -> dict[str, Any]:
    """Return an arm's changes with the stages that are left, from the policy that the shared ones end with."""
    if start.recipe.model.lora is not None:
        raise StudyError(f"{path}: shared: a policy of LoRA adapters cannot be started from; share no stages")
    policy = start.path / "checkpoints" / start.recipe.stages[-1].name / "final"
    own = tree.get("stages")
    named = own if isinstance(own, list) else []
    listed: Mapping[Any, Any] = own if isinstance(own, Mapping) else {one["name"]: one for one in named}
    foreign = [name for name in listed if name not in stages]
    if foreign:
        raise StudyError(f"{path}: arms: {foreign[0]} is shared, or no stage at all; arms change {', '.join(stages)}")
    return {
        **tree,
        "model": {**(tree.get("model") or {}), "name": str(policy), "revision": None},
        "stages": [{**listed.get(name, {}), "name": name} for name in stages],
    }


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
