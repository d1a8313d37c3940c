"""Rewards that do what they should not, for runs that must survive it: named in a recipe as reference.dying:Hangs."""

import os
import time
from pathlib import Path

from rewards import Sample

calls = 0


class Hangs:
    """Score by length, until the call of a number, in the process of a rank, never comes back."""

    def __init__(self, after: int, rank: int = 0) -> None:
        self.after, self.rank = after, rank

    def __call__(self, sample: Sample) -> float:
        global calls  # noqa: PLW0603 - rewards are built anew, and this counts over all of them
        calls += 1
        while calls > self.after and int(os.environ.get("RANK", "0")) == self.rank:
            time.sleep(0.1)
        return float(len(sample.completion) % 7)


class ByLength:
    """Score by length, so that an untrained policy has something to learn."""

    def __call__(self, sample: Sample) -> float:
        return float(len(sample.completion) % 7)


class Slow:
    """Take a fifth of a second a sample, until a file is there."""

    def __init__(self, until: str) -> None:
        self.until = until

    def __call__(self, sample: Sample) -> float:
        if not Path(self.until).exists():
            time.sleep(0.2)
        return 0.0


class Raises:
    """Fail at every sample."""

    def __call__(self, sample: Sample) -> float:
        raise ArithmeticError("no score today")
