"""The rubric, and what rewards are told: an effort, a verdict. Field docstrings are the documentation of the recipe."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from rewards import Combination, Role
from rl.recipe.endpoint_section import Endpoint
from rl.recipe.section import Positive, Section


class Part(Section):
    """One reward of the rubric."""

    reward: str | None = None
    """Name of the reward, or import path of your own (my_package.my_module:MyReward); by default the part's name."""
    weight: Annotated[float, Field(ge=-1e6, le=1e6)] = 1.0
    """What the reward is multiplied by; 0 measures without rewarding."""
    role: Role | None = None
    """What the part is to `combine`; by default what its reward is: answer and countdown are correct, effort is a gate,
    monitor a constraint, all others are added."""
    options: dict[str, Any] = {}
    """Settings of the reward, such as {tags: [think, answer]} for format."""


class Multiplier(Section):
    """Lambda of a lagrangian rubric: after every batch lambda <- max(0, lambda - learning_rate x mean constraint)."""

    initial: Annotated[float, Field(ge=0)] = 1.0
    """Lambda of the first batch [ours]."""
    learning_rate: Annotated[float, Field(ge=0)] = 0.05
    """Its own learning rate [ours]."""


class Rewards(Section):
    """The rubric: rewards by name, and how they become one."""

    combine: Combination = "sum"
    """`sum`; `gate`: right and within the gate, or nothing (e1); `bonus_if_correct`: a bonus counts for a right answer
    alone (AVAR); `lagrangian`: a constraint weighs lambda (CoT Monitor+); `decoupled`: each reward is normalised in its
    group, then weighted (SLIM). See docs/rewards.md."""
    parts: dict[str, Part] = {"answer": Part(weight=1.0), "format": Part(weight=0.2)}
    """Rewards by name: answer, countdown, echo, effort, format, length_target,
    monitor, or your own."""
    multiplier: Multiplier = Multiplier()
    on_error: Literal["stop", "none"] = "stop"
    """When a reward raises: `stop` ends the run and shows the sample; `none` says "cannot judge" and counts it."""
    max_errors: Positive = 100
    """With `none`: so many errors in one stage, on one device, end the run all the same [ours]."""


class Effort(Section):
    """What both kinds of effort share."""

    scope: Literal["group", "rollout"] = "group"
    """Whether all completions of a prompt are asked for the same, or each for its own [ours]."""
    of: Literal["reasoning", "completion"] = "reasoning"
    """Whose tokens count: the think part's, or those of the whole completion [ours]."""

    def _check_range(self, low: float, high: float) -> None:
        if not 0.01 <= low <= high:
            raise ValueError(f"range: [{low:g}, {high:g}] is empty; write [lowest, highest], 0.01 or more")


class RelativeEffort(Effort):
    """Ask for a length relative to the query's own average (e1, arXiv 2510.27042)."""

    kind: Literal["relative"]
    range: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.2, 1.5]
    """The effort is drawn from here, evenly, to two decimals [ours]."""
    values: list[Annotated[float, Field(gt=0, multiple_of=0.01)]] | None = None
    """Draw one of these instead."""
    average: Literal["ema", "group"] = "ema"
    """The query's average length: over the steps that saw it, or over this group alone [ours]."""
    over: Literal["correct", "all"] = "correct"
    """Whose lengths are averaged; where no completion of a new query is right, all of them [ours]."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of the running average [ours]."""
    wording: str = " Think with {effort} times your usual effort."
    """Follows the question; {effort} becomes the number [ours]."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_range(*self.range)
        if self.values == []:
            raise ValueError("values: should hold at least one effort, or be null")
        if "{effort}" not in self.wording:
            raise ValueError("wording: should hold {effort}, or the policy is never told")
        return self


class TokenEffort(Effort):
    """Ask for a number of tokens (L1, arXiv 2503.04697)."""

    kind: Literal["tokens"]
    range: Annotated[list[Positive], Field(min_length=2, max_length=2)] = [100, 4000]
    """The number is drawn from here, evenly [paper]."""
    wording: str = " Think for {tokens} tokens."
    """Follows the question [paper]; {tokens} becomes the number."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_range(*self.range)
        if "{tokens}" not in self.wording:
            raise ValueError("wording: should hold {tokens}, or the policy is never told")
        return self


AnyEffort = Annotated[RelativeEffort | TokenEffort, Field(discriminator="kind")]


class FrozenMonitor(Section):
    """A frozen copy of the policy audits the reasoning (CoT Monitor+, arXiv 2505.18807)."""

    kind: Literal["frozen"]
    refresh_every: Positive = 15
    """Steps after which the policy as it then is takes the copy's place [paper]."""
    max_tokens: Positive = 256
    """Longest audit, in tokens; a longer one gives no verdict [ours]."""
    batch: Positive = 16
    """Audits that are written at a time, on each device."""


class EndpointMonitor(Endpoint):
    """An outer judge behind an OpenAI-compatible endpoint audits the reasoning."""

    kind: Literal["endpoint"]
    max_tokens: Positive = 512
    """Longest answer, in tokens."""


AnyMonitor = Annotated[FrozenMonitor | EndpointMonitor, Field(discriminator="kind")]
