"""The arms of one evaluation: which policies, asked for how much, reminded of what. Everything else they share."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from rl.evaluation.evaluate import EvaluationError
from rl.generate import Again
from rl.policy import Policy

SHAPE = re.compile(r"[^\w.+=-]+")


@dataclass(frozen=True)
class Arm:
    """Hold a policy, which may be without weights, what it is asked for (0: nothing), and what it is reminded of.

    `name` is its folder too; `line` names the arms that differ from it in what is asked for alone.
    """

    name: str
    line: str
    policy: Policy
    asked: float
    again: Again | None


@dataclass(frozen=True)
class Wanted:
    """Say which arms there are: every policy with every effort, or number of tokens, and every reminder.

    Reminders are none, question, neutral or nothing, and `first` is the most tokens before each.
    """

    models: Sequence[str]
    efforts: Sequence[float] = ()
    tokens: Sequence[int] = ()
    agains: Sequence[str] = ("none",)
    first: int | None = None
    system: str | None = None


def plan_arms(wanted: Wanted, fallback: str | None) -> list[Arm]:
    """Return the arms, in order; policies are loaded without weights. Raises EvaluationError, ModelError and RunError.

    `fallback` is the system prompt of a policy that was not trained here.
    """
    arms: list[Arm] = []
    known: dict[str, str] = {}
    for model, name in zip(wanted.models, names_of(wanted.models), strict=True):
        own = _arms_of(model, name, wanted, fallback)
        policy = own[0].policy.name
        policy = str(Path(policy).resolve()) if Path(policy).is_dir() else policy
        if policy in known:
            raise EvaluationError(f"{model}: is named twice ({known[policy]}); a policy counts once")
        known[policy] = model
        arms += own
    return arms


def _arms_of(model: str, name: str, wanted: Wanted, fallback: str | None) -> list[Arm]:
    kind, values = ("effort", wanted.efforts) if wanted.efforts else ("tokens", wanted.tokens)
    first = values[0] if values else None
    effort, tokens = (first, None) if kind == "effort" else (None, None if first is None else int(first))
    policy = Policy.load(model, system=wanted.system, fallback=fallback, effort=effort, tokens=tokens, weights=False)
    arms = []
    for again in wanted.agains:
        line = f"{name}-{again}" if len(wanted.agains) > 1 else name
        reminder = None if again == "none" else Again(again, wanted.first)  # pyright: ignore
        for value in values or [0.0]:
            own = f"{line}-{kind}-{value:g}" if len(values) > 1 else line
            arms.append(Arm(own, line, policy.asking(value), value, reminder))
    return arms


def names_of(models: Sequence[str]) -> list[str]:
    """Name each model by its folder, those of a run's stages by run and stage; a name that is taken gets a number."""
    names: list[str] = []
    for model in models:
        base = _name(model)
        numbered = (f"{base}-{number}" for number in count(2))
        names.append(next(name for name in chain([base], numbered) if name not in names))
    return names


def _name(model: str) -> str:
    path = Path(model)
    parts = path.resolve().parts if path.is_dir() else path.parts
    if "checkpoints" in parts[1:]:
        place = parts.index("checkpoints", 1)
        parts = ("-".join(part for part in (parts[place - 1], *parts[place + 1 :]) if part != "final"),)
    return SHAPE.sub("-", parts[-1]).strip("-.") or "policy" if parts else "policy"
