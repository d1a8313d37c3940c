"""What attention says about each token."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Rhythm:
    """Hold WAAD (tokens, 0..window) and FAI (mean attention, 0..1) of each token, 0 outside the response.

    Both are defined in arXiv 2510.13554.
    """

    waad: Float[Tensor, "B T"]
    fai: Float[Tensor, "B T"]
