"""How far the policy is from its reference: estimators of the KL, and the weight it is held with."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Estimator = Literal["k1", "k3"]
STEP = 0.1  # K_beta of arXiv 1909.08593
BOUND = 0.2  # that its relative error is clipped to


def estimate_kl(
    logps: Float[Tensor, "B T"], reference: Float[Tensor, "B T"], estimator: Estimator
) -> Float[Tensor, "B T"]:
    """Return each sampled token's estimate of KL(policy, reference) in nats (Schulman, "Approximating KL divergence").

    With d = log reference - log policy: k1 = -d, unbiased and of either sign; k3 = exp(d) - d - 1, unbiased, never
    negative, and of less variance near 0.
    """
    difference = reference - logps
    return -difference if estimator == "k1" else difference.exp() - difference - 1


@dataclass
class KlWeight:
    """Weigh the KL: fixed, or with a target adapted to hold it (arXiv 1909.08593).

    beta <- beta (1 + 0.1 clip(KL / target - 1, -0.2, 0.2)), KL in nats per completion.
    """

    value: float
    target: float | None = None

    def update(self, kl: float) -> None:
        """Take a step after a batch of rollouts whose mean KL per completion is kl."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -BOUND), BOUND)
            self.value *= 1 + STEP * error
