"""What is good: rewards as pure functions of a sample. No torch, and nothing of `rl`."""

from rewards.answer import Answer
from rewards.base import Reward, Rubric, Sample, Score
from rewards.format import Format

REWARDS: dict[str, type[Reward]] = {
    "answer": Answer,
    "format": Format,
}

__all__ = ["REWARDS", "Reward", "Rubric", "Sample", "Score"]
