"""From a recipe's sections to what a stage needs: tasks, models, critic, rubric, judge.

With rl.run, rl.settings and rl.sourcing the only code of a run that reads recipe sections; what is below takes plain
arguments. rl.distill, rl.evaluation, rl.analysis and rl.circuits have files that do so for their own command.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedTokenizerBase

from rewards import Rubric, find
from rewards.echoes import Rule, Similarity
from rewards.sentences import overlaps
from rl import data, models
from rl.attention import ProbeError, check_probeable, probed_layers
from rl.critic import Critic
from rl.echo.embedding import Embedding
from rl.echo.probe import ProbedLikeness, load_probe
from rl.effort import AverageLengths, Dial
from rl.judge import FrozenJudge, Judge
from rl.multiplier import Multiplier
from rl.own_rule import CreditError, OwnRule, try_out
from rl.recipe.checks import facts_of, needs_of, roles, weights
from rl.recipe.credit_sections import Own, probing
from rl.recipe.data_sections import PythonTasks
from rl.recipe.distill_sections import Detection
from rl.recipe.reward_sections import AnyEffort, AnyMonitor, EndpointMonitor, FrozenMonitor, RelativeEffort, Rewards
from rl.recipe.sections import Recipe, Stage
from rl.recipe.seeds import task_seed
from rl.recipe.trainer_sections import COPY, Online, Ppo, Sft
from rl.scoring import Scorer
from rl.settings import credit_settings, trl_config
from rl.sourcing import load_tasks
from rl.tokens import opens_reasoning
from rl.trainers import TrainerError


@dataclass(frozen=True)
class Plan:
    """Hold what a stage needs, loaded and checked before anything is written."""

    stage: Stage
    tasks: Sequence[data.Task]
    system: str | None
    dial: Dial | None = None
    judge: Judge | None = None

    @property
    def use(self) -> dict[str, Any]:
        """Say how the stage's policy wants to be asked."""
        words = {"kind": self.dial.kind, "wording": self.dial.wording} if self.dial else None
        return {"system": self.system, "effort": words}


def make_plan(recipe: Recipe, index: int, tokenizer: PreTrainedTokenizerBase, path: Path, world: int = 1) -> Plan:
    """Load and check what stage number index of a recipe needs, for a run in path; writes nothing.

    Raises DataError, ModelError, JudgeError and TrainerError.
    """
    stage = recipe.stages[index]
    source = stage.data or recipe.data
    trainer = stage.trainer
    tasks = load_tasks(source, seed=task_seed(recipe.seed, index), worked=isinstance(trainer, Sft))[: source.limit]
    dial = _build_dial(stage.effort or recipe.effort, recipe.seed)
    words = dial.longest_words if dial else ""
    shape = models.read_shape(recipe.model.name, recipe.model.revision)
    if isinstance(trainer, Sft):
        longest, key = min(shape.context, trainer.max_length), f"stages.{stage.name}.trainer.max_length"
        whose = f"raise {key}" if trainer.max_length < shape.context else "take a model with a longer context"
        remedy = f"{whose} or shorten the row"
        data.check_fit(tasks, tokenizer, source.system, words, longest, None, remedy)
    else:
        _check_credit(recipe, stage, shape.num_layers)
        if isinstance(source, PythonTasks):
            _check_facts(stage.rewards or recipe.rewards, tasks)
        remedy = f"shorten the prompt or lower stages.{stage.name}.trainer.max_completion_length"
        monitor = _monitor_of(recipe, stage)
        audit = monitor.max_tokens if isinstance(monitor, FrozenMonitor) else 0  # it follows the reasoning
        room = trainer.max_completion_length + audit
        data.check_fit(tasks, tokenizer, source.system, words, shape.context, room, remedy)
        if len(tasks) < trainer.prompts_per_step:
            raise data.DataError(
                f"data: {len(tasks)} tasks are fewer than stages.{stage.name}.trainer.prompts_per_step = "
                f"{trainer.prompts_per_step}; lower it or bring more tasks"
            )
    if recipe.model.lora:
        models.check_lora(recipe.model.name, recipe.model.revision, **recipe.model.lora.model_dump())
    try:
        trl_config(recipe, stage, path / "checkpoints" / stage.name, world)
    except TrainerError as error:
        raise TrainerError(f"stages.{stage.name}.trainer.{error}") from None
    monitor = _monitor_of(recipe, stage)
    judge = _build_judge(monitor, tokenizer, path) if monitor else None
    if isinstance(trainer, Ppo):
        _check_critic(stage.name, trainer, tokenizer)
    return Plan(stage, tasks, source.system, dial, judge)


def _check_facts(rewards: Rewards, tasks: Sequence[data.Task]) -> None:
    """Raise DataError for the first task that lacks what a reward must know of it."""
    for name, part in rewards.parts.items():
        wanted = facts_of(find(part.reward or name))
        for task in tasks:
            missing = sorted(fact for fact in wanted if task.facts.get(fact) is None)
            if missing:
                raise data.DataError(f"{task.source}: facts lack {', '.join(missing)}, which the reward {name} needs")


def _check_critic(stage: str, trainer: Ppo, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ModelError where a critic of its own cannot be had, or reads another vocabulary."""
    name, place = trainer.critic.model, f"stages.{stage}.trainer"
    if name is not None and name != COPY:
        try:
            models.check_critic(name, trainer.critic.revision, tokenizer)
        except models.ModelError as error:
            raise models.ModelError(f"{place}.{error}") from None


def _monitor_of(recipe: Recipe, stage: Stage) -> AnyMonitor | None:
    """Return the section of the monitor that a stage's rewards need."""
    needs = needs_of(stage.rewards or recipe.rewards).values() if isinstance(stage.trainer, Online) else ()
    used = any(section == "monitor" for wanted in needs for section, _ in wanted)
    return (stage.monitor or recipe.monitor) if used else None


def _check_credit(recipe: Recipe, stage: Stage, num_layers: int) -> None:
    """Raise ModelError where a layer that credit reads does not exist, or has no attention to read.

    A rule of the user's own is tried out, and a TrainerError says where it cannot weigh tokens.

    The model is built without its weights for that, and its forward pass traced; one that cannot be traced is left to
    the first selection of heads, which comes before the first step.
    """
    section, place = stage.credit or recipe.credit, f"stages.{stage.name}.credit" if stage.credit else "credit"
    if isinstance(section, Own):
        _try_rule(section, place)
    reading = probing(section)
    if reading is None:
        return
    beyond = [layer for layer in reading.layers or [] if layer >= num_layers]
    if beyond:
        raise models.ModelError(f"{place}.layers: {beyond} are beyond the model's layers 0..{num_layers - 1}")
    with FakeTensorMode():
        try:
            skeleton = models.build_skeleton(recipe.model.name, recipe.model.revision, recipe.model.attention)
            check_probeable(skeleton, reading.layers or probed_layers(num_layers))
        except ProbeError as error:
            remedy = "name layers that have attention, or a credit that reads none"
            raise models.ModelError(f"{place}.layers: {error}; {remedy}") from None
        except (RuntimeError, ImportError, LookupError, AttributeError, TypeError, ValueError):
            return  # it cannot be traced


def _try_rule(section: Own, place: str) -> None:
    settings = credit_settings(section)
    assert settings is not None and isinstance(settings.rule, OwnRule)
    try:
        try_out(settings.rule, settings.reads, settings.horizon)
    except CreditError as error:
        raise TrainerError(f"{place}.rule: {error}") from None


def _build_dial(section: AnyEffort | None, seed: int) -> Dial | None:
    if section is None:
        return None
    low, high = section.range
    values = section.values if isinstance(section, RelativeEffort) else None
    return Dial(
        kind=section.kind,
        low=low,
        high=high,
        wording=section.wording,
        values=values,
        per_rollout=section.scope == "rollout",
        of=section.of,
        seed=seed,
    )


def _build_judge(section: AnyMonitor, tokenizer: PreTrainedTokenizerBase, path: Path) -> Judge:
    options = section.model_dump(exclude={"kind"})
    if isinstance(section, EndpointMonitor):
        from rl.judge.endpoint import EndpointJudge

        judge = EndpointJudge(**options, cache=path / "judge.jsonl")
        judge.check()
        return judge
    return FrozenJudge(tokenizer, opens_reasoning=opens_reasoning(tokenizer), **options)


def load_model(recipe: Recipe, base: str, policy: Path | None) -> nn.Module:
    """Load the base model, or with policy what a checkpoint or an earlier stage's final folder holds."""
    section = recipe.model
    whole = policy is not None and section.lora is None
    network = models.load_policy(
        str(policy) if whole else base,
        revision=None if whole else section.revision,
        dtype=section.dtype,
        attention=section.attention,
    )
    if section.lora is None:
        return network
    lora = section.lora
    return models.add_lora(
        network, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets, adapter=policy
    )


def build_critic(recipe: Recipe, trainer: Ppo, policy: nn.Module, base: str, start: Path | None) -> Critic:
    """Return a stage's critic for a policy that was loaded from base, or from start, an earlier stage's."""
    section, model = trainer.critic, recipe.model
    if section.model is None:
        return Critic(models.hidden_size(policy))
    if section.model == COPY:
        return models.own_critic(load_model(recipe, base, start))  # pyright: ignore
    if section.model in models.EMBEDDED:
        return models.own_critic(models.EMBEDDED[section.model].build_model(recipe.seed))
    return models.load_critic(section.model, section.revision, model.dtype, model.attention)


def build_rubric(section: Rewards) -> Rubric:
    """Return the rubric of a recipe's rewards, which checking the recipe has already built once."""
    rewards = {name: find(part.reward or name)(**part.options) for name, part in section.parts.items()}
    return Rubric(rewards, weights(section), section.combine, roles(section))


def build_rule(section: Detection) -> Rule:
    """Return what counts as an echo."""
    return Rule(section.threshold, section.drop, section.openers)


def build_likeness(section: Detection) -> Similarity:
    """Return how like a question sentences are. Raises EchoError where a model of it cannot be had."""
    similarity = section.similarity
    if similarity.kind == "lexical":
        return overlaps
    embedding = Embedding(similarity.model)
    if similarity.probe is None:
        return embedding
    width = embedding.embed(["width"]).shape[-1]
    return ProbedLikeness(embedding, load_probe(Path(similarity.probe), width))


def build_scorer(recipe: Recipe, plan: Plan, tokenizer: PreTrainedTokenizerBase, end_ids: Collection[int]) -> Scorer:
    """Return what scores a stage's completions."""
    stage = plan.stage
    assert isinstance(stage.trainer, Online)
    rewards, effort = stage.rewards or recipe.rewards, stage.effort or recipe.effort
    averages = None
    if isinstance(effort, RelativeEffort):
        averages = AverageLengths(effort.average == "ema", effort.over == "correct", effort.decay)
    return Scorer(
        build_rubric(rewards),
        plan.tasks,
        tokenizer,
        end_ids,
        group_size=stage.trainer.num_generations,
        dial=plan.dial,
        averages=averages,
        judge=plan.judge,
        multiplier=Multiplier(rewards.multiplier.initial, rewards.multiplier.learning_rate),
        stop_on_error=rewards.on_error == "stop",
        max_errors=rewards.max_errors,
    )
