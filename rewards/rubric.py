"""How several rewards become one: the five combinations."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from rewards.base import Reward, Role, Sample, Score, apply

Combination = Literal["sum", "gate", "bonus_if_correct", "lagrangian", "decoupled"]
Parts = Mapping[str, float | None]
SPREADLESS = 1e-8  # a standard deviation below this is rounding, not spread

# What a combination cannot do without, and the roles that mean something in it beside add and correct.
REQUIRED: dict[Combination, tuple[Role, ...]] = {
    "sum": (),
    "gate": ("correct", "gate"),
    "bonus_if_correct": ("correct", "bonus"),
    "lagrangian": ("constraint",),
    "decoupled": (),
}


@dataclass(frozen=True)
class Rubric:
    r"""Combine named rewards p with weights w into one score and keep the breakdown.

    C are the parts whose role is `correct`, X those that the combination singles out; all others are added.

    - `sum`: sum w p (L1, arXiv 2503.04697; every role is added).
    - `gate`: prod_{k in X} p_k * sum_C w p + sum_others w p, X = `gate` (e1, arXiv 2510.27042).
    - `bonus_if_correct`: sum_C w p + 1[correct] sum_{k in X} w p + sum_others w p, X = `bonus` (AVAR); 1[correct] where
      every part of C that could judge is at least 1.
    - `lagrangian`: sum_others w p + lambda sum_{k in X} w p, X = `constraint` (CoT Monitor+, arXiv 2505.18807).
    - `decoupled`: the total is that of `sum`, and the advantage `decouple` of a group (SLIM, Vision-SR1).

    None, "cannot judge", is kept apart from 0: where every part of C is None, or a gate or a constraint that would
    count, the total is None; any other part that is None is left out of its sum. [ours]
    Raises ValueError at construction where the rubric cannot work.
    """

    rewards: Mapping[str, Reward]
    weights: Mapping[str, float]
    combine: Combination = "sum"
    roles: Mapping[str, Role] = field(default_factory=dict)

    def __post_init__(self) -> None:
        roles: dict[str, Role] = {name: getattr(reward, "role", "add") for name, reward in self.rewards.items()}
        roles |= self.roles
        fault = next(iter([*self._weight_faults(), *self._role_faults(roles), *self._gate_faults(roles)]), None)
        if fault is not None:
            raise ValueError(fault)
        object.__setattr__(self, "roles", roles)

    def _weight_faults(self) -> Iterator[str]:
        if not self.rewards:
            yield "a rubric needs at least one reward"
        if self.rewards.keys() != self.weights.keys():
            yield f"rewards {sorted(self.rewards)} and weights {sorted(self.weights)} must name the same parts"
        if not all(math.isfinite(weight) for weight in self.weights.values()):
            yield "every weight should be a finite number"
        if all(weight == 0 for weight in self.weights.values()):
            yield "every weight is 0, so the total reward would always be 0; give one reward a weight"

    def _role_faults(self, roles: Mapping[str, Role]) -> Iterator[str]:
        if self.combine not in REQUIRED:
            yield f"unknown combination {self.combine!r}; one of {', '.join(REQUIRED)}"
            return
        required = REQUIRED[self.combine]
        for name in self.roles.keys() - self.rewards.keys():
            yield f"roles name {name}, but there is no such reward"
        for name, role in roles.items():
            if role not in get_args(Role):
                yield f"{name} has the unknown role {role!r}; one of {', '.join(get_args(Role))}"
        weighty = [role for name, role in roles.items() if self.weights.get(name)]
        for role in required:
            if role not in weighty:
                said = ", ".join(f"{name}: {its}" for name, its in roles.items())
                yield f"combine {self.combine} needs a part with the role {role}; there are {said}"
        for name, role in self.roles.items():
            if role not in ("add", "correct", *required):
                yield f"{name}: the role {role} has no effect with combine {self.combine}; leave it out"

    def _gate_faults(self, roles: Mapping[str, Role]) -> Iterator[str]:
        for name, role in roles.items():
            if self.combine == "gate" and role == "gate" and self.weights.get(name) not in (0, 1):
                yield f"{name}: a gate multiplies, so its weight can be 1, or 0 to measure it alone"

    def named(self, role: Role) -> list[str]:
        """List the parts that have a role and weigh anything: the others are only measured."""
        return [name for name in self.rewards if self.roles[name] == role and self.weights[name] != 0]

    def part(self, name: str, sample: Sample) -> float | None:
        """Return one part of a sample's score. Raises RewardError."""
        return apply(name, self.rewards[name], sample)

    def score(self, sample: Sample, multiplier: float = 1.0) -> Score:
        """Score one sample, part by part; multiplier is lambda. Raises RewardError."""
        parts = {name: self.part(name, sample) for name in self.rewards}
        return Score(total=self.total(parts, multiplier), parts=parts)

    def is_correct(self, parts: Parts) -> bool | None:
        """Say whether the answer is right; None where no part could judge that, or none has that role."""
        judged = [value for name in self.named("correct") if (value := parts[name]) is not None]
        return all(value >= 1 for value in judged) if judged else None

    def total(self, parts: Parts, multiplier: float = 1.0) -> float | None:
        """Combine a sample's parts into its total; multiplier is lambda."""
        if self.named("correct") and self.is_correct(parts) is None:
            return None
        return TOTALS[self.combine](self, parts, multiplier)

    def added(self, parts: Parts, names: Sequence[str]) -> float | None:
        """Return the weighted sum of the parts that could judge; None if none could."""
        judged = [self.weights[name] * value for name in names if (value := parts[name]) is not None]
        return sum(judged) if judged else None

    def decouple(self, group: Sequence[Parts]) -> list[float]:
        """Return the advantages of one prompt's completions: sum_k w_k (p_k - mean_k) / std_k over the group.

        The deviation is the sample's (n - 1), as GRPO's. A part without spread in the group is left out, never divided
        by zero, as is a part where it could not judge; a completion without a total gets 0 and counts for no mean.
        """
        advantages = [0.0] * len(group)
        scored = [index for index, parts in enumerate(group) if self.total(parts) is not None]
        for name, weight in self.weights.items():
            judged = {index: value for index in scored if (value := group[index][name]) is not None}
            deviation = statistics.stdev(judged.values()) if len(judged) > 1 else 0.0
            if deviation <= SPREADLESS * max(map(abs, judged.values()), default=0.0):
                continue
            mean = statistics.fmean(judged.values())
            for index, value in judged.items():
                advantages[index] += weight * (value - mean) / deviation
        return advantages


def _sum(rubric: Rubric, parts: Parts, _: float) -> float | None:
    return rubric.added(parts, list(parts))


def _gate(rubric: Rubric, parts: Parts, _: float) -> float | None:
    gates, correct = rubric.named("gate"), rubric.named("correct")
    gated = rubric.added(parts, correct) or 0.0
    for name in gates if gated else ():
        value = parts[name]
        if value is None:
            return None
        gated *= value
    return gated + (rubric.added(parts, _rest(parts, gates, correct)) or 0.0)


def _bonus_if_correct(rubric: Rubric, parts: Parts, _: float) -> float | None:
    bonuses = rubric.named("bonus")
    earned = (rubric.added(parts, bonuses) or 0.0) if rubric.is_correct(parts) else 0.0
    return earned + (rubric.added(parts, _rest(parts, bonuses)) or 0.0)


def _lagrangian(rubric: Rubric, parts: Parts, multiplier: float) -> float | None:
    constraints = rubric.named("constraint")
    if any(parts[name] is None for name in constraints):
        return None
    constrained = rubric.added(parts, constraints) or 0.0
    return multiplier * constrained + (rubric.added(parts, _rest(parts, constraints)) or 0.0)


def _rest(parts: Parts, *taken: Sequence[str]) -> list[str]:
    return [name for name in parts if not any(name in names for names in taken)]


TOTALS: dict[Combination, Callable[[Rubric, Parts, float], float | None]] = {
    "sum": _sum,
    "gate": _gate,
    "bonus_if_correct": _bonus_if_correct,
    "lagrangian": _lagrangian,
    "decoupled": _sum,
}
