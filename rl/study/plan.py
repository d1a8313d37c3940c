"""From a study's file to its runs: which recipe each has, where it lies, what it starts from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rl.comparison.arms import differing, flat
from rl.dashboard.panels import metrics
from rl.recipe import dump
from rl.recipe.faults import Fault, RecipeError, suggestion, validation_faults
from rl.recipe.load import load_over, parse_override, read_tree, shipped
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

    def steps_of(self, run: PlannedRun) -> int:
        """Return how many steps a run of an arm has in the stage that is compared."""
        return next(stage.trainer.steps for stage in run.recipe.stages if stage.name == self.stage)


def study_names() -> list[str]:
    """List the shipped studies."""
    return sorted(path.stem for path in (shipped("recipes") / FOLDER).glob("*.yaml"))


def read_study(name: str) -> tuple[Study, Path]:
    """Return the study called name (a path, or a shipped study's name), and its file. Raises RecipeError."""
    path = Path(name)
    if not path.is_file() and path.name == name and not path.suffix:
        path = shipped("recipes") / FOLDER / f"{name}.yaml"
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


def widened(study: Study, seeds: Sequence[int]) -> Study:
    """Return a study with seeds beside its own: what its page is about, whichever part of it is conducted."""
    return study.model_copy(update={"seeds": list(dict.fromkeys([*study.seeds, *seeds]))})


def plan(study: Study, path: Path, folder: Path, changes: Changes = NOTHING) -> Plan:
    """Return the runs of a study whose file is path, in folder; `changes` are laid over every run's recipe.

    Raises RecipeError, and StudyError where arms would differ in what the study does not say, or in nothing.
    """
    folder = folder.absolute()
    _check_changes(study, path, changes)
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
    _check_stages(runs, stage, path)
    found = Plan(study, stage, folder, shared, runs)
    shortest = min(found.steps_of(run) for run in runs)
    found = replace(found, study=study.model_copy(update={"last": min(study.last, shortest)}))
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
        if "model" in tree:
            raise StudyError(f"{path}: arms.{name}: model: arms start from the policy that they share; leave it out")
        stages = stages[len(start.recipe.stages) :]
        tree["stages"] = _left(study.arms[name].get("stages"), stages, f"{path}: arms.{name}: stages")
        policy = start.path / "checkpoints" / start.recipe.stages[-1].name / "final"
        overrides += [f"model.name={json.dumps(str(policy))}", "model.revision=null"]
    said, overrides = f"{path}: arms.{name}", _of_stages(overrides, stages)
    recipe = load_over(study.recipe, tree, said, path.parent, overrides, changes.overlays, partial=True)
    run = folder / "runs" / f"{name}-seed{seed}"
    return PlannedRun(run, recipe.model_copy(update={"seed": seed}), name, seed, start and start.path)


def _left(own: Any, stages: Sequence[str], where: str) -> list[dict[str, Any]]:
    """Return the stages that are not shared, with what an arm changes in them."""
    if isinstance(own, list) and all(isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in own):
        own = {one["name"]: one for one in own}
    listed = {} if own is None else own
    if not isinstance(listed, Mapping) or not all(isinstance(one or {}, Mapping) for one in listed.values()):
        example = f"{{{stages[0]}: {{trainer: {{steps: 100}}}}}}"
        raise StudyError(f"{where}: should say what changes in which stage, such as {example}")
    foreign = [name for name in listed if name not in stages]
    if foreign:
        raise StudyError(f"{where}: {foreign[0]} is shared, or no stage at all; arms change {', '.join(stages)}")
    return [{**(listed.get(name) or {}), "name": name} for name in stages]


def _of_stages(overrides: Sequence[str], stages: Sequence[str]) -> list[str]:
    """Return the overrides without those of other stages."""
    return [
        text
        for text in overrides
        if not text.strip().startswith("stages.") or text.split("=")[0].split(".")[1] in stages
    ]


def _check_changes(study: Study, path: Path, changes: Changes) -> None:
    """Raise StudyError where what is laid over all runs is the study's to say, or an arm's: it would undo the arm."""
    trees = [(f"--set {text}", parse_override(text)) for text in changes.overrides]
    trees += [(f"--with {name}", read_tree(Path(name))) for name in changes.overlays]
    said = {key: arm for arm, own in study.arms.items() for key in flat(own) if key}
    for source, tree in trees:
        for key in flat(tree):
            if key in ("seed", "name"):
                raise StudyError(f"{source}: {key}: {path} says it for all runs; seeds are said by --seeds")
            arm = next((said[own] for own in said if _overlap(key, own)), None)
            if arm is not None:
                raise StudyError(f"{source}: {key}: the arm {arm} of {path} says it; change it there")


def _overlap(key: str, other: str) -> bool:
    return key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.")


def _check_stages(runs: Sequence[PlannedRun], stage: str, path: Path) -> None:
    """Raise StudyError where an arm has not the stage that is compared."""
    for run in runs:
        names = [one.name for one in run.recipe.stages]
        if stage not in names:
            raise StudyError(f"{path}: stage: the arm {run.arm} does not train {stage}; it trains {', '.join(names)}")


def _check_differences(found: Plan, path: Path) -> None:
    """Raise StudyError where two arms differ in nothing, or in a key that both have and neither says.

    The latter is what becomes of a recipe's own value where an arm takes another `kind`, whose default stands in its
    place.
    """
    arms = {run.arm: flat(dump(run.recipe)) for run in found.runs if run.seed == found.study.seeds[0]}
    said = {arm: list(flat(changes)) for arm, changes in found.study.arms.items()}
    for (one, left), (other, right) in combinations(arms.items(), 2):
        keys = [key for key in differing([left, right]) if key != "name"]
        if not keys:
            raise StudyError(f"{path}: arms: {one} and {other} are the same; take one away")
        for key in keys:
            words = [*said[str(one)], *said[str(other)]]
            if key in left and key in right and not any(key == word or key.startswith(f"{word}.") for word in words):
                values = f"{left[key]}, {right[key]}"
                raise StudyError(
                    f"{path}: arms: {one} and {other} would differ in {key} ({values}) without a word; say it in one"
                )


def _check_outcomes(found: Plan, path: Path) -> None:
    """Raise StudyError for an outcome that a control would not record, or no other arm."""
    known = {run.arm: metrics(run.recipe) for run in found.runs}
    for metric in found.study.outcomes:
        recording = [arm for arm, keys in known.items() if any(fnmatchcase(metric, key) for key in keys)]
        if not recording:
            hint = suggestion(metric, {key for keys in known.values() for key in keys})
            raise StudyError(f"{path}: outcomes: no arm records {metric}{hint}")
        lacking = [control for control in found.study.against if control not in recording]
        if lacking or (len(recording) < 2):
            arm = next(iter(lacking), None) or next(one for one in known if one not in recording)
            raise StudyError(f"{path}: outcomes: {metric} is not recorded by {arm}, so that nothing is compared in it")
