"""What is good: rewards as pure functions of a sample. No torch, and nothing of `rl`."""

from rewards.answer import Answer
from rewards.base import Label, Reward, RewardError, Role, Sample, Score
from rewards.countdown import Countdown
from rewards.echo import Echo
from rewards.effort import Effort, LengthTarget
from rewards.format import Format
from rewards.monitor import Monitor
from rewards.own import named
from rewards.rubric import Combination, Rubric

REWARDS: dict[str, type[Reward]] = {
    "answer": Answer,
    "countdown": Countdown,
    "echo": Echo,
    "effort": Effort,
    "format": Format,
    "length_target": LengthTarget,
    "monitor": Monitor,
}


def find(name: str) -> type[Reward]:
    """Return the reward class of that name, or at that import path (my_package.my_module:MyReward).

    Raises KeyError for an unknown name, and LookupError for a path that leads to no class of rewards.
    """
    if ":" not in name:
        return REWARDS[name]
    found = named(name)
    if not isinstance(found, type) or not issubclass(found, Reward):
        raise LookupError(f"{name}: should be a class whose instances are called with a sample")
    return found


__all__ = [
    "REWARDS",
    "Combination",
    "Echo",
    "Label",
    "Reward",
    "RewardError",
    "Role",
    "Rubric",
    "Sample",
    "Score",
    "find",
]
