"""What a recipe may get wrong though every key of it is well-formed."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from rewards import REWARDS, Reward, Rubric
from rl.recipe.credit_sections import Anchor, Coupled, Shuffled
from rl.recipe.faults import suggestion
from rl.recipe.section import Section
from rl.recipe.sections import Columns, Data, Grpo, ReasoningGym, Recipe, Rewards, Sft, Stage
from rl.recipe.trl_fields import reason_to_refuse

# reasoning-gym tasks for which rl.data.traces can write worked completions.
TRACED_TASKS = ("chain_sum",)


def check(recipe: Recipe) -> list[tuple[list[str | int], str]]:
    """Return (path, reason) for every fault that shows only when sections are seen together."""
    return list(_faults(recipe))


def check_parts(tree: Mapping[str, Any]) -> list[tuple[list[str | int], str]]:
    """Return what `check` would say of those sections of a recipe that are well-formed though others are not."""
    found: list[tuple[list[str | int], str]] = []
    rewards = _section(Rewards, tree.get("rewards"))
    if isinstance(rewards, Rewards):
        found += [(["rewards", *path], reason) for path, reason in _rubric_faults(rewards)]
    stages = tree.get("stages")
    for index, entry in enumerate(stages if isinstance(stages, list) else []):
        stage = _section(Stage, entry)
        if isinstance(stage, Stage):
            found += [(["stages", index, *path], reason) for path, reason in _trainer_faults(stage)]
    return found


def _section(section: type[Section], value: object) -> Section | None:
    try:
        return None if value is None else section.model_validate(value)
    except ValidationError:
        return None


def _faults(recipe: Recipe) -> Iterator[tuple[list[str | int], str]]:
    names = [stage.name for stage in recipe.stages]
    if len(set(names)) < len(names):
        yield ["stages"], f"stage names must differ, not {', '.join(names)}"
    yield from ((["rewards", *path], reason) for path, reason in _rubric_faults(recipe.rewards))
    for index, stage in enumerate(recipe.stages):
        place: list[str | int] = ["stages", index]
        if stage.rewards:
            yield from (([*place, "rewards", *path], reason) for path, reason in _rubric_faults(stage.rewards))
        yield from ((place + path, reason) for path, reason in _trainer_faults(stage))
        yield from _credit_faults(recipe, stage, place)
        if isinstance(stage.trainer, Sft):
            yield from _completion_faults(stage.data or recipe.data, [*place, "data"] if stage.data else ["data"])


def _rubric_faults(section: Rewards) -> Iterator[tuple[list[str | int], str]]:
    unknown = [name for name in section.parts if name not in REWARDS]
    for name in unknown:
        yield ["parts", name], f"unknown reward{suggestion(name, REWARDS)}"
    rewards: dict[str, Reward] = {}
    for name, part in section.parts.items():
        if name in unknown:
            continue
        try:
            rewards[name] = REWARDS[name](**part.options)
        except (TypeError, ValueError) as error:
            yield ["parts", name, "options"], str(error).replace(f"{REWARDS[name].__name__}.__init__() ", "")
    if len(rewards) == len(section.parts):
        try:
            Rubric(rewards, {name: part.weight for name, part in section.parts.items()}, section.combine)
        except ValueError as error:
            yield ["parts"], str(error)


def _trainer_faults(stage: Stage) -> Iterator[tuple[list[str | int], str]]:
    trainer = stage.trainer
    for field in trainer.trl:
        reason = reason_to_refuse(trainer.kind, field)
        if reason:
            yield ["trainer", "trl", field], reason
    total, words = (
        (trainer.rollouts_per_step, f"prompts_per_step x num_generations = {trainer.rollouts_per_step}")
        if isinstance(trainer, Grpo)
        else (trainer.batch, f"batch = {trainer.batch}")
    )
    if isinstance(trainer, Grpo) and trainer.loss_type == "cispo":
        cap = trainer.trl.get("epsilon_high", trainer.epsilon)
        if isinstance(cap, int | float) and cap <= 1:
            yield (
                ["trainer", "trl", "epsilon_high"],
                f"cispo clips the probability ratio itself at this, and {cap:g} would scale every gradient down; "
                "set it above 1 (its paper: 5.0)",
            )
    if total % trainer.micro_batch:
        yield ["trainer", "micro_batch"], f"{trainer.micro_batch} does not divide {words}"


def _credit_faults(recipe: Recipe, stage: Stage, place: list[str | int]) -> Iterator[tuple[list[str | int], str]]:
    trainer, credit = stage.trainer, stage.credit or recipe.credit
    place = [*place, "credit"] if stage.credit else ["credit"]
    if not isinstance(trainer, Grpo):
        if stage.credit:
            yield place, f"has no effect in an {trainer.kind} stage; leave it out"
        return
    for what, alarm in {"length": recipe.alarms.length, "entropy": recipe.alarms.entropy}.items():
        if alarm and alarm.steps >= trainer.steps:
            yield ["alarms", what, "steps"], f"{alarm.steps} steps of {trainer.steps} leave none to compare; lower it"
    longest = trainer.max_completion_length
    if isinstance(credit, Anchor | Coupled | Shuffled) and credit.horizon[0] >= longest:
        yield [*place, "horizon"], f"begins {credit.horizon[0]} tokens on, but completions have at most {longest}"


def _completion_faults(data: Data, place: list[str | int]) -> Iterator[tuple[list[str | int], str]]:
    if isinstance(data, ReasoningGym) and data.task not in TRACED_TASKS:
        traced = ", ".join(TRACED_TASKS)
        yield (
            [*place, "task"],
            f"an sft stage needs worked completions, which rhythm writes for {traced} alone, not {data.task}; "
            "give the stage `data` with a `completion` column",
        )
    if isinstance(data, Columns) and data.completion is None:
        yield [*place, "completion"], "an sft stage needs the name of the column that holds the worked completions"
