"""The words every reward shares: Sample, Score, Reward, Rubric."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

Combination = Literal["sum"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold all that a reward may see of one rollout.

    `answer` is the task's gold answer; `completion` is the model's text without its end-of-turn token, and hostile:
    parse it, never evaluate it. `truncated` says that the completion hit the length limit.
    """

    question: str
    answer: str
    completion: str
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """Hold a sample's total reward and its unweighted parts; None means "cannot judge" and is not zero."""

    total: float | None
    parts: Mapping[str, float | None]


@runtime_checkable
class Reward(Protocol):
    """Judge one sample. Stateless; None where the reward cannot judge."""

    def __call__(self, sample: Sample) -> float | None: ...


@dataclass(frozen=True)
class Rubric:
    """Combine named rewards into one score and keep the breakdown.

    `sum`: total = sum over the parts that could judge of weight x part; None if none could.
    Raises ValueError at construction where the rubric cannot work.
    """

    rewards: Mapping[str, Reward]
    weights: Mapping[str, float]
    combine: Combination = "sum"

    def __post_init__(self) -> None:
        if not self.rewards:
            raise ValueError("a rubric needs at least one reward")
        if self.rewards.keys() != self.weights.keys():
            raise ValueError(
                f"rewards {sorted(self.rewards)} and weights {sorted(self.weights)} must name the same parts"
            )
        if all(weight == 0 for weight in self.weights.values()):
            raise ValueError("every weight is 0, so the total reward would always be 0; give one reward a weight")
        if self.combine not in get_args(Combination):
            raise ValueError(f"unknown combination {self.combine!r}; one of {', '.join(get_args(Combination))}")

    def score(self, sample: Sample) -> Score:
        """Score one sample, part by part."""
        parts = {name: reward(sample) for name, reward in self.rewards.items()}
        judged = [self.weights[name] * value for name, value in parts.items() if value is not None]
        return Score(total=sum(judged) if judged else None, parts=parts)
