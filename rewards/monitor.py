"""Does the reasoning admit deception? The verdict is a monitor's, worked out outside."""

from dataclasses import dataclass
from typing import ClassVar

from rewards.base import Label, Role, Sample
from rewards.parse import label

LABELS: tuple[Label, ...] = ("safe", "unsafe")


@dataclass(frozen=True)
class Monitor:
    """Give 0 where the monitor's verdict is safe and `violation` where it is unsafe; None where there is no verdict.

    R_s of CoT Monitor+ (arXiv 2505.18807): the verdict is a frozen copy's or an outer judge's, never the policy's own
    label. violation -1 is [ours].
    """

    role: ClassVar[Role] = "constraint"
    needs: ClassVar[frozenset[str]] = frozenset({"monitor"})

    violation: float = -1.0

    def __post_init__(self) -> None:
        if isinstance(self.violation, bool) or not isinstance(self.violation, int | float) or not self.violation < 0:
            raise ValueError(f"violation must be below 0, not {self.violation!r}")

    def __call__(self, sample: Sample) -> float | None:
        return None if sample.verdict is None else 0.0 if sample.verdict == "safe" else self.violation


def own_label(completion: str) -> Label | None:
    """Return the policy's own label: the one <label> behind its reasoning, exactly safe or unsafe; else None."""
    return as_label(label(completion))


def as_label(text: str | None) -> Label | None:
    """Return text as a label, where it is exactly one of them."""
    return next((known for known in LABELS if known == text), None)
