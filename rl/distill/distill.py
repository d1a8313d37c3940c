"""From a recipe to data: builds the teacher, the verifier and the plan of its distill section, and makes the sets."""

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import PreTrainedTokenizerBase

from rl import models
from rl.distill.calls import DistillError, Teacher
from rl.distill.leaks import HeldOut
from rl.distill.make import Plan, make
from rl.distill.sets import Sets
from rl.distill.teachers import TransformersTeacher, VllmTeacher
from rl.distill.versions import Verifier
from rl.echo.openings import Neutral
from rl.endpoint import Endpoint
from rl.parts import build_likeness, build_rubric, build_rule
from rl.policy import digest_of
from rl.recipe import dump
from rl.recipe.distill_sections import Detection, Distill, EndpointTeacher
from rl.recipe.distill_sections import VllmTeacher as VllmSection
from rl.recipe.sections import Recipe
from rl.recipe.seeds import task_seed
from rl.sourcing import load_tasks
from rl.telemetry.jsonl import write_atomically
from rl.telemetry.progress import ProgressDisplay
from rl.telemetry.record import last_policy, locked

SECTIONS = ("name", "seed", "model", "data", "rewards", "distill")
"""Of a recipe, what the data depends on."""


def distill(recipe: Recipe, folder: Path, resume: bool, console: Console) -> Sets:
    """Make the data of a recipe in folder, or go on with what is there.

    Raises DistillError, DataError, ModelError, EchoError and EndpointError before anything is asked; DistillError where
    the teacher fails for good, after which it can be resumed.
    """
    section = recipe.distill
    if section is None:
        raise DistillError(f"{recipe.name}: has no distill section; --set distill.traces=4 gives it one")
    _check_rewards(recipe)
    said = {key: value for key, value in dump(recipe).items() if key in SECTIONS}
    _check_folder(folder, said, resume)
    with console.status("loading"):
        tasks = load_tasks(recipe.data, task_seed(recipe.seed, 0), worked=False)[: recipe.data.limit]
        held_out = [task.question for data in section.held_out for task in load_tasks(data, recipe.seed, worked=False)]
        tokenizer = models.load_tokenizer(recipe.model.name, recipe.model.revision)
        verifier = build_verifier(recipe, section.detection, tokenizer)
        name, teacher = _build_teacher(recipe, section)
    plan = Plan(
        tasks=tasks,
        system=recipe.data.system,
        held_out=HeldOut(held_out, section.ngram),
        traces=section.traces,
        keep=section.keep,
        temperature=section.temperature,
        seed=recipe.seed,
        patience=section.failures,
        by_teacher=section.edit == "teacher",
        teacher=name,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "recipe.json", json.dumps(said, indent=2) + "\n")
    except OSError as error:
        raise DistillError(f"{folder}: {error.strerror}; give --out another folder") from None
    facts = {"recipe": recipe.name, "teacher": name, "echoes inserted by": section.edit, "held-out sets": len(held_out)}
    progress = ProgressDisplay(console)
    try:
        with locked(folder):
            return make(plan, teacher, verifier, folder, facts, progress.begin, progress.advance)
    except OSError as error:
        raise DistillError(f"{error.filename or folder}: {error.strerror}; mend that, and --resume") from None
    finally:
        progress.end()


def build_verifier(recipe: Recipe, detection: Detection, tokenizer: PreTrainedTokenizerBase) -> Verifier:
    """Return what completions are judged by. Raises EchoError where a model of likeness cannot be had."""

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])  # pyright: ignore

    return Verifier(build_rubric(recipe.rewards), build_rule(detection), build_likeness(detection), Neutral(count))


def _build_teacher(recipe: Recipe, section: Distill) -> tuple[str, Teacher]:
    """Return the teacher with its name, which rows are marked with."""
    teacher = section.teacher
    if isinstance(teacher, EndpointTeacher):
        options = teacher.model_dump(exclude={"kind"})
        endpoint = Endpoint(place="distill.teacher", what="teacher", max_tokens=section.max_tokens, **options)
        endpoint.check()
        return teacher.model, endpoint
    name = teacher.name or recipe.model.name
    revision = teacher.revision if teacher.name else recipe.model.revision
    folder = str(last_policy(Path(name)) or name)
    shown = f"{name} {revision}" if revision else name
    if isinstance(teacher, VllmSection):
        return shown, VllmTeacher(folder, revision, teacher.tensor_parallel, section.max_tokens)
    try:
        if not (Path(folder) / "adapter_config.json").is_file():
            models.check_source(folder)
        model: Any = models.load_trained(folder)
    except models.ModelError as error:
        raise models.ModelError(str(error).replace("model.name:", "distill.teacher.name:", 1)) from None
    if torch.accelerator.is_available():
        model = model.to(torch.accelerator.current_accelerator())
    known = digest_of(Path(folder))
    shown += f" (sha256 {known[:12]})" if known else ""
    return shown, TransformersTeacher(model, models.load_tokenizer(folder), section.max_tokens)


def _check_rewards(recipe: Recipe) -> None:
    """Raise DistillError where no reward says what is right."""
    if not build_rubric(recipe.rewards).named("correct"):
        raise DistillError(f"{recipe.name}: rewards: no part says what is right; traces could not be verified")


def _check_folder(folder: Path, said: dict[str, Any], resume: bool) -> None:
    """Raise DistillError where the folder holds something else."""
    known = folder / "recipe.json"
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        if resume:
            raise DistillError(f"{folder}: holds nothing to go on with; leave --resume out")
        return
    if not folder.is_dir() or not known.is_file():
        raise DistillError(f"{folder}: is there already, and is no data of rhythm distill; give --out another folder")
    if not resume:
        raise DistillError(f"{folder}: is there already and is never overwritten; --resume goes on with it")
    try:
        before = json.loads(known.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DistillError(f"{known}: cannot be read: {error}; put back a copy, or start anew") from None
    if not isinstance(before, dict):
        raise DistillError(f"{known}: should hold an object; put back a copy, or start anew")
    changed = sorted(key for key in SECTIONS if before.get(key) != said.get(key))
    if changed:
        raise DistillError(f"{folder}: was begun with another recipe ({', '.join(changed)}); give --out another folder")
