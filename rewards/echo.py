"""Does the reasoning open by restating the question?"""

from dataclasses import dataclass
from typing import ClassVar

from rewards import echoes
from rewards.base import Role, Sample
from rewards.sentences import restated, words


@dataclass(frozen=True)
class Echo:
    """Give the share of the question that the echo restates, in 0..1, full from `ceiling` on [ours].

    Only an opening counts (see rewards.echoes), each word as often as the question has it, and an echo of more than
    `longest` times the question's words earns nothing: neither copying again nor copying more pays. Its role is bonus,
    so that under `combine: bonus_if_correct` it pays only where the answer is right.
    """

    role: ClassVar[Role] = "bonus"

    ceiling: float = 0.8
    longest: float = 2.0
    threshold: float = 0.6
    drop: float = 0.15

    def __post_init__(self) -> None:
        if not 0 < self.ceiling <= 1:
            raise ValueError(f"ceiling must be above 0 and at most 1, not {self.ceiling!r}")
        if not self.longest >= 1:
            raise ValueError(f"longest must be at least 1, not {self.longest!r}")
        echoes.Rule(self.threshold, self.drop)

    def __call__(self, sample: Sample) -> float:
        echo = echoes.find(sample.question, sample.completion, echoes.Rule(self.threshold, self.drop))
        if echo is None:
            return 0.0
        text = sample.completion[echo.start : echo.end]
        if len(words(text)) > self.longest * len(words(sample.question)) + echoes.OPENER_WORDS:
            return 0.0
        return min(restated(sample.question, text), self.ceiling) / self.ceiling
