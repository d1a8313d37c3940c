"""Which runs are seeds of one arm, and in what the arms differ."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl.comparison.runs import Run

RUN_LEVEL = ("seed", "telemetry", "cluster", "checkpoints", "guard", "alarms", "distill")
"""Keys of a recipe that say where, how safely and how often, and not what is learned."""
MOST_KEYS, LONGEST_VALUE = 3, 40  # of what an arm is told apart by, in its name

Settings = Mapping[str, str]


@dataclass(frozen=True)
class Arm:
    """Hold the runs of one recipe, by whatever seeds, and its settings by dotted key."""

    name: str
    runs: Sequence[Run]
    settings: Settings


def arms_of(runs: Sequence[Run]) -> list[Arm]:
    """Gather runs whose recipes are equal but for seed and run-level keys, in the order of their first runs.

    An arm is called by its recipe; where several recipes have one name, by what they differ in too.
    """
    found: dict[str, tuple[Settings, list[Run]]] = {}
    for run in runs:
        settings = flat({key: value for key, value in run.recipe.items() if key not in RUN_LEVEL})
        found.setdefault(json.dumps(settings, sort_keys=True), (settings, []))[1].append(run)
    arms = [Arm(str(own[0].recipe.get("name") or own[0].name), own, settings) for settings, own in found.values()]
    named = [Arm(_told_apart(arm, arms), arm.runs, arm.settings) for arm in arms]
    return [
        Arm(f"{arm.name} {_number(arm, place, named)}".rstrip(), arm.runs, arm.settings)
        for place, arm in enumerate(named)
    ]


def differing(settings: Sequence[Settings]) -> list[str]:
    """Return the keys that are not the same in all, in order; under a key that some lack, all that stands below it."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({one.get(key) for one in settings}) > 1]


def flat(tree: Any, path: str = "") -> dict[str, str]:
    """Return a tree as dotted keys and values as JSON; of a list, items that have a name stand under it."""
    if isinstance(tree, Mapping) and tree:
        pairs = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list) and tree and all(isinstance(one, Mapping) and one.get("name") for one in tree):
        pairs = [(str(one["name"]), {key: value for key, value in one.items() if key != "name"}) for one in tree]
    else:
        return {path: json.dumps(tree, ensure_ascii=False)}
    return {key: value for name, inner in pairs for key, value in flat(inner, f"{path}.{name}".lstrip(".")).items()}


def shown(value: str | None) -> str:
    """Write a setting as a person would: texts without their quotes, and long ones cut."""
    text = "-" if value is None else value.strip('"')
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _told_apart(arm: Arm, arms: Sequence[Arm]) -> str:
    alike = [one.settings for one in arms if one.name == arm.name]
    keys = differing(alike)
    kinds = [key for key in keys if key.endswith(".kind")]
    implied = tuple(kind.removesuffix("kind") for kind in kinds)  # what one kind alone has follows from it
    others = [key for key in keys if not key.startswith(implied) or all(key in settings for settings in alike)]
    own = [key for key in dict.fromkeys([*kinds, *others]) if key in arm.settings]
    told = [f"{key.removesuffix('.kind')}={shown(arm.settings[key])}" for key in own[:MOST_KEYS]]
    return f"{arm.name} ({', '.join(told)}{', ...' if len(own) > MOST_KEYS else ''})" if told else arm.name


def _number(arm: Arm, place: int, arms: Sequence[Arm]) -> str:
    """Return a number for an arm whose name is still another's, since that shows its first keys alone."""
    alike = [index for index, one in enumerate(arms) if one.name == arm.name]
    return f"[{alike.index(place) + 1}]" if len(alike) > 1 else ""
