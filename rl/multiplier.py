"""The Lagrange multiplier of a constrained reward (CoT Monitor+, arXiv 2505.18807)."""

from dataclasses import dataclass


@dataclass
class Multiplier:
    """Weigh the constraint R_s >= 0: R = R_a + lambda R_s, lambda <- max(0, lambda - eta J_s), J_s the mean of R_s."""

    value: float = 1.0
    learning_rate: float = 0.05

    def update(self, constraint: float) -> None:
        """Take a step against the mean constraint of a batch: below 0, lambda grows."""
        self.value = max(0.0, self.value - self.learning_rate * constraint)
