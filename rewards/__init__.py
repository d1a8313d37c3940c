"""What is good: rewards as pure functions of a sample. No torch, and nothing of `rl`."""

import importlib
import sys
from pathlib import Path

from rewards.answer import Answer
from rewards.base import Label, Reward, RewardError, Role, Sample, Score, said
from rewards.countdown import Countdown
from rewards.echo import Echo
from rewards.effort import Effort, LengthTarget
from rewards.format import Format
from rewards.monitor import Monitor
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

    Modules are looked for where Python does, and in the working directory. Raises KeyError for an unknown name, and
    LookupError for a path that leads to no class of rewards.
    """
    if ":" not in name:
        return REWARDS[name]
    module, _, attribute = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the module is the user's, and may raise anything
        raise LookupError(f"{name}: cannot be imported: {said(error)}") from None
    found = getattr(loaded, attribute, None)
    if found is None:
        raise LookupError(f"{name}: the module {module} has no {attribute}")
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
