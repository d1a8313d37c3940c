"""A credit rule of the user's own: called, and what it returns held to what training needs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rewards.base import said
from rewards.own import named
from rl.attention import Rhythm
from rl.credit import Credit, Signals, with_marks

MARKED = 0.4  # top share of FAI and Delta that samples show as anchors and preplan tokens, as of the kinds of ours
MARKS = ("selected", "anchors", "preplan", "dominated")  # of a Credit: which tokens
LENGTHS = (24, 1, 0)  # of the made-up responses that a rule is tried on


class CreditError(ValueError):
    """Say what is wrong with a credit rule of the user's own."""


@dataclass(frozen=True)
class OwnRule:
    """Call the function at an import path with signals and options.

    It returns weights, (B, T), finite and not below 0, or a Credit that also says which tokens it selected; of weights
    alone those above 1 are. What stands outside the response does not count. Raises CreditError.
    """

    path: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, signals: Signals) -> Credit:
        function: Any = named(self.path)
        try:
            given = function(signals, **self.options)
        except (Exception, SystemExit) as error:
            raise CreditError(f"{self.path} failed: {said(error)}") from error
        response, credit = signals.response, given if isinstance(given, Credit) else None
        weights = self._checked(given if credit is None else credit.weights, response)
        if credit is None:
            credit = Credit(weights, weights > 1)
        else:
            marks = {name: self._marks(name, getattr(credit, name), response) for name in MARKS}
            if marks["selected"] is None:
                raise CreditError(f"{self.path} returned a Credit without selected; give it a tensor of booleans")
            credit = replace(credit, weights=weights, **marks)
        return credit if signals.rhythm is None or credit.anchors is not None else with_marks(credit, signals, MARKED)

    def _marks(self, name: str, marks: object, response: Tensor) -> Tensor | None:
        if marks is None:
            return None
        if not isinstance(marks, Tensor) or marks.dtype != torch.bool or marks.shape != response.shape:
            told = f"{marks.dtype} of {tuple(marks.shape)}" if isinstance(marks, Tensor) else type(marks).__name__
            raise CreditError(
                f"{self.path} returned {name} as {told}; it should be booleans of {tuple(response.shape)}"
            )
        return marks.to(response.device) & response

    def _checked(self, weights: object, response: Tensor) -> Tensor:
        if not isinstance(weights, Tensor) or weights.is_complex():
            raise CreditError(f"{self.path} returned a {type(weights).__name__}; it should return a tensor of weights")
        if weights.shape != response.shape:
            shapes = f"{tuple(weights.shape)}, not {tuple(response.shape)}"
            raise CreditError(f"{self.path} returned weights of shape {shapes}: one for every token")
        weights = torch.where(response, weights.detach().to(response.device, torch.float32), 0.0)
        if not bool((weights.isfinite() & (weights >= 0)).all()):
            odd = weights[~(weights.isfinite() & (weights >= 0))][0].item()
            raise CreditError(f"{self.path} returned the weight {odd:g}; weights are finite and 0 or more")
        return weights


def try_out(rule: OwnRule, reads: Collection[str], horizon: tuple[int, int]) -> None:
    """Call a rule on made-up responses, with the signals that it reads. Raises CreditError where it cannot weigh."""
    generator = torch.Generator().manual_seed(0)
    shape = len(LENGTHS), max(LENGTHS)
    waad, fai, entropy, noise = (torch.rand(shape, generator=generator) for _ in range(4))
    response = torch.arange(shape[1]) < torch.tensor(LENGTHS).unsqueeze(-1)
    rule(
        Signals(
            response=response,
            rhythm=Rhythm(waad * response, fai * response) if "attention" in reads else None,
            horizon=horizon,
            entropy=entropy if "entropy" in reads else None,
            noise=noise if "noise" in reads else None,
            eligible=response,
        )
    )
