"""Did the completion take as long as it was asked to?"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from rewards.base import Role, Sample

Gate = Literal["hard", "soft"]


@dataclass(frozen=True)
class Effort:
    """Give 1 where length / average length of the query <= effort, else 0 (e1, arXiv 2510.27042: the gate).

    A `soft` gate falls from 1 to 0 over the next `softness` above the effort instead [ours]. None where no effort was
    asked for.
    """

    role: ClassVar[Role] = "gate"
    needs: ClassVar[frozenset[str]] = frozenset({"effort"})

    gate: Gate = "hard"
    softness: float = 0.25

    def __post_init__(self) -> None:
        if self.gate not in get_args(Gate):
            raise ValueError(f"gate must be one of {', '.join(get_args(Gate))}, not {self.gate!r}")
        if isinstance(self.softness, bool) or not isinstance(self.softness, int | float) or not self.softness > 0:
            raise ValueError(f"softness must be a positive number, not {self.softness!r}")

    def __call__(self, sample: Sample) -> float | None:
        length = sample.length
        if sample.effort is None or sample.average_length is None or length is None:
            return None
        excess = length - sample.effort * sample.average_length
        if excess <= 0:
            return 1.0
        slope = self.softness * sample.average_length
        return 0.0 if self.gate == "hard" or slope == 0 else max(0.0, 1 - excess / slope)


@dataclass(frozen=True)
class LengthTarget:
    """Give -|length - target|, in tokens (L1, arXiv 2503.04697, which weighs it 0.0003); None without a target."""

    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})

    def __call__(self, sample: Sample) -> float | None:
        if sample.target_length is None or sample.length is None:
            return None
        return -float(abs(sample.length - sample.target_length))
