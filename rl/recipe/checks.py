"""What a recipe may get wrong though every key of it is well-formed."""

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from rewards import REWARDS, Echo, Reward, Role, Rubric, find
from rewards.base import said
from rl.recipe.credit_sections import Anchor, Coupled, Shuffled
from rl.recipe.data_checks import FACTS, completion_faults, telling_faults
from rl.recipe.data_sections import Benchmark, Data, PythonTasks, ReasoningGym
from rl.recipe.faults import suggestion
from rl.recipe.own_checks import own_faults
from rl.recipe.reward_sections import Multiplier, RelativeEffort, Rewards
from rl.recipe.section import Section
from rl.recipe.sections import Recipe, Stage
from rl.recipe.trainer_checks import Fault, Place, trainer_faults
from rl.recipe.trainer_sections import Online, Ppo, Sft


def check(recipe: Recipe) -> list[Fault]:
    """Return (path, reason) for every fault that shows only when sections are seen together."""
    return list(_faults(recipe))


def check_parts(tree: Mapping[str, Any]) -> list[Fault]:
    """Return what `check` would say of those sections of a recipe that are well-formed though others are not."""
    found: list[Fault] = []
    rewards = _section(Rewards, tree.get("rewards"))
    if isinstance(rewards, Rewards):
        found += [(["rewards", *path], reason) for path, reason in rubric_faults(rewards)]
    stages = tree.get("stages")
    for index, entry in enumerate(stages if isinstance(stages, list) else []):
        stage = _section(Stage, entry)
        if isinstance(stage, Stage):
            found += [(["stages", index, *path], reason) for path, reason in trainer_faults(stage)]
    return found


def world_faults(recipe: Recipe, world: int) -> Iterator[Fault]:
    """Yield which stages' steps cannot be shared out over `world` processes."""
    for stage in recipe.stages:
        try:
            stage.trainer.share(world)
        except ValueError as error:
            yield ["stages", stage.name, "trainer", "micro_batch"], f"{error} (cluster); choose numbers that divide"


def _section(section: type[Section], value: object) -> Section | None:
    try:
        return None if value is None else section.model_validate(value)
    except ValidationError:
        return None


def _faults(recipe: Recipe) -> Iterator[Fault]:
    names = [stage.name for stage in recipe.stages]
    if len(set(names)) < len(names):
        yield ["stages"], f"stage names must differ, not {', '.join(names)}"
    yield from ((["rewards", *path], reason) for path, reason in rubric_faults(recipe.rewards))
    yield from own_faults(recipe)
    yield from _unused_faults(recipe)
    if recipe.cluster.world:
        yield from world_faults(recipe, recipe.cluster.world)
    if not any(isinstance(stage.trainer, Sft) and stage.data is None for stage in recipe.stages):
        yield from telling_faults(recipe.data, ["data"])
    for index, stage in enumerate(recipe.stages):
        place: Place = ["stages", index]
        if stage.rewards:
            yield from (([*place, "rewards", *path], reason) for path, reason in rubric_faults(stage.rewards))
        yield from ((place + path, reason) for path, reason in trainer_faults(stage))
        if isinstance(stage.trainer, Sft) and stage.trainer.packing and recipe.model.attention != "flash_attention_2":
            yield from _packing_faults(stage.trainer, recipe.model.attention, place)
        yield from _credit_faults(recipe, stage, place)
        yield from _group_faults(recipe, stage, place)
        yield from _need_faults(recipe, stage, place)
        yield from _gold_faults(recipe, stage, place)
        if stage.data and isinstance(stage.trainer, Online):
            yield from telling_faults(stage.data, [*place, "data"])
        if isinstance(stage.trainer, Sft):
            yield from completion_faults(stage.data or recipe.data, [*place, "data"] if stage.data else ["data"])


def rubric_faults(section: Rewards) -> Iterator[Fault]:
    """Yield what is wrong with rewards whatever they judge."""
    rewards: dict[str, Reward] = {}
    for name, part in section.parts.items():
        place: Place = ["parts", name, *(["reward"] if part.reward else [])]
        try:
            reward = find(part.reward or name)
        except KeyError:
            yield place, f"unknown reward{suggestion(part.reward or name, REWARDS)}"
            continue
        except LookupError as error:
            yield place, str(error.args[0])
            continue
        try:
            rewards[name] = reward(**part.options)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the class may be anybody's
            reason = str(error) if type(error) in (TypeError, ValueError) else said(error)
            yield ["parts", name, "options"], reason.replace(f"{reward.__name__}.__init__() ", "")
            continue
        if fault := _shape_fault(rewards[name]):
            yield place, fault
        if isinstance(rewards[name], Echo) and part.role is None and section.combine != "bonus_if_correct":
            yield place, "would pay for wrong answers too; write combine: bonus_if_correct, or a role of its own"
    if section.combine != "lagrangian" and section.multiplier != Multiplier():
        yield ["multiplier"], f"has no effect with combine {section.combine}; leave it out"
    if len(rewards) == len(section.parts):
        try:
            Rubric(rewards, weights(section), section.combine, roles(section))
        except ValueError as error:
            yield ["parts"], str(error)


def _shape_fault(reward: Reward) -> str | None:
    """Say why a reward of the user's cannot be one, though it was built."""
    if inspect.iscoroutinefunction(type(reward).__call__):
        return "is asynchronous; a reward is called and gives a number"
    try:
        inspect.signature(reward).bind(None)
    except TypeError as error:
        return f"should be called with a sample alone: {error}"
    except ValueError:  # built in C, without a signature
        return None
    needs = getattr(reward, "needs", frozenset())
    if not isinstance(needs, frozenset | set | tuple | list) or not set(map(str, needs)) <= PROVIDERS.keys():
        return f"`needs` should be a set of {', '.join(PROVIDERS)}, not {needs!r}"
    return None


def weights(section: Rewards) -> dict[str, float]:
    """Return the weight of every part."""
    return {name: part.weight for name, part in section.parts.items()}


def roles(section: Rewards) -> dict[str, Role]:
    """Return the roles that the recipe gives to parts in place of their own."""
    return {name: part.role for name, part in section.parts.items() if part.role is not None}


# What a reward may need: the section that provides it, and of which kind.
PROVIDERS = {
    "effort": ("effort", "relative"),
    "tokens": ("effort", "tokens"),
    "monitor": ("monitor", None),
}
REMEDIES = {"effort": "`effort` (or `length_target`)", "monitor": "`monitor`"}


def _need_faults(recipe: Recipe, stage: Stage, place: Place) -> Iterator[Fault]:
    """Yield what the rewards of a stage need and nothing provides, and what it is provided with for no reward."""
    if not isinstance(stage.trainer, Online):
        if stage.monitor:
            yield [*place, "monitor"], f"has no effect in an {stage.trainer.kind} stage; leave it out"
        return
    rewards, inside = (stage.rewards, [*place, "rewards"]) if stage.rewards else (recipe.rewards, ["rewards"])
    provided = {"effort": stage.effort or recipe.effort, "monitor": stage.monitor or recipe.monitor}
    needs = needs_of(rewards)
    for name, wanted in needs.items():
        for section, kind in wanted:
            if provided[section] is None or kind not in (None, provided[section].kind):
                of_kind = f" of kind {kind}" if kind else ""
                yield [*inside, "parts", name], f"needs a section `{section}`{of_kind}; write one"
    used = {section for wanted in needs.values() for section, _ in wanted}
    for section in provided:
        if getattr(stage, section) and section not in used:
            yield [*place, section], f"is used by no reward; add a part {REMEDIES[section]}, or leave it out"
    effort = provided["effort"]
    if isinstance(effort, RelativeEffort) and effort.over == "correct" and not _says_what_is_right(rewards):
        where: Place = [*place, "effort"] if stage.effort else ["effort"]
        yield [*where, "over"], "no reward says what is right (answer, countdown); add one, or write over: all"
    if rewards.combine == "decoupled" and "scale_rewards" in stage.trainer.trl:
        yield [*place, "trainer", "trl", "scale_rewards"], "has no effect with decoupled rewards; leave it out"


def _gold_faults(recipe: Recipe, stage: Stage, place: Place) -> Iterator[Fault]:
    if isinstance(stage.trainer, Online):
        at = [*place, "data"] if stage.data else ["data"]
        inside = [*place, "rewards"] if stage.rewards else ["rewards"]
        yield from gold_faults(stage.data or recipe.data, at, stage.rewards or recipe.rewards, inside)


def gold_faults(data: Data, at: Sequence[str | int], rewards: Rewards, inside: Sequence[str | int]) -> Iterator[Fault]:
    """Yield what rewards, which stand inside a place, would judge by and data, which are at one, do not say."""
    if isinstance(data, Benchmark) and "answer" in {part.reward or name for name, part in rewards.parts.items()}:
        yield [*at, "kind"], f"{data.kind} has no gold answers, so the reward answer can judge none; leave it out"
    if isinstance(data, PythonTasks):
        return  # what its tasks hold, they alone know
    there = FACTS.get(data.task, set()) if isinstance(data, ReasoningGym) else set(getattr(data, "facts", ()))
    for name, part in rewards.parts.items():
        with contextlib.suppress(LookupError):
            missing = sorted(facts_of(find(part.reward or name)) - there)
            if missing:
                facts = f"fact{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
                yield [*inside, "parts", name], f"needs the {facts} of each task; name their columns in data.facts"


def facts_of(reward: type[Reward]) -> frozenset[str]:
    """Return the facts of a task that a reward cannot do without."""
    facts = getattr(reward, "facts", frozenset())
    return facts if isinstance(facts, frozenset) else frozenset()


def needs_of(rewards: Rewards) -> dict[str, list[tuple[str, str | None]]]:
    """Return what each part needs: which section of the recipe, and of which kind."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name, part in rewards.parts.items():
        with contextlib.suppress(LookupError):
            needs = getattr(find(part.reward or name), "needs", ())
            known = needs if isinstance(needs, frozenset | set | tuple | list) else ()
            found[name] = [PROVIDERS[need] for need in sorted(map(str, known)) if need in PROVIDERS]
    return found


def _says_what_is_right(rewards: Rewards) -> bool:
    return any(
        (part.role or _own_role(part.reward or name)) == "correct" and part.weight != 0
        for name, part in rewards.parts.items()
    )


def _own_role(name: str) -> str:
    with contextlib.suppress(LookupError):
        return getattr(find(name), "role", "add")
    return "add"


def _unused_faults(recipe: Recipe) -> Iterator[Fault]:
    """Yield what the recipe provides to all stages and no reward of any stage uses."""
    trained = [stage for stage in recipe.stages if isinstance(stage.trainer, Online)]
    used = {
        section for s in trained for wanted in needs_of(s.rewards or recipe.rewards).values() for section, _ in wanted
    }
    for section in ("effort", "monitor"):
        if getattr(recipe, section) and section not in used and (trained or section == "monitor"):
            yield [section], f"is used by no reward; add a part {REMEDIES[section]}, or leave it out"


def _group_faults(recipe: Recipe, stage: Stage, place: Place) -> Iterator[Fault]:
    """Yield what compares the completions of a prompt where there are none to compare."""
    trainer, effort = stage.trainer, stage.effort or recipe.effort
    if not isinstance(trainer, Ppo):
        return
    if (stage.rewards or recipe.rewards).combine == "decoupled":
        at = [*place, "rewards"] if stage.rewards else ["rewards"]
        reason = "decoupled makes advantages of a group's rewards, where ppo's come from its critic; write sum"
        yield [*at, "combine"], reason
    if isinstance(effort, RelativeEffort) and effort.average == "group" and trainer.num_generations < 2:
        at = [*place, "effort"] if stage.effort else ["effort"]
        yield [*at, "average"], "a group of one is its own average; write ema, or num_generations: 2 or more"


def _credit_faults(recipe: Recipe, stage: Stage, place: Place) -> Iterator[Fault]:
    trainer, credit = stage.trainer, stage.credit or recipe.credit
    place = [*place, "credit"] if stage.credit else ["credit"]
    if not isinstance(trainer, Online):
        if stage.credit:
            yield place, f"has no effect in an {trainer.kind} stage; leave it out"
        return
    for what, alarm in {"length": recipe.alarms.length, "entropy": recipe.alarms.entropy}.items():
        if alarm and alarm.steps >= trainer.steps:
            yield ["alarms", what, "steps"], f"{alarm.steps} steps of {trainer.steps} leave none to compare; lower it"
    longest = trainer.max_completion_length
    if isinstance(credit, Anchor | Coupled | Shuffled) and credit.horizon[0] >= longest:
        yield [*place, "horizon"], f"begins {credit.horizon[0]} tokens on, but completions have at most {longest}"


def _packing_faults(trainer: Sft, attention: str, place: Place) -> Iterator[Fault]:
    """Yield where packs would stand behind each other in one sequence whose attention knows nothing of rows."""
    if trainer.micro_batch > 1:
        yield (
            [*place, "trainer", "micro_batch"],
            f"{attention} would attend over {trainer.micro_batch} packs of {trainer.max_length} tokens as over one; "
            "write micro_batch: 1, or model.attention: flash_attention_2",
        )
