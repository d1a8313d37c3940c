"""Which policies of a run are looked at: the base, and what every stage kept on its way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from rl import models
from rl.checkpoints import PREFIX, fault_of, step_of
from rl.recipe.sections import Recipe
from rl.telemetry.jsonl import read_rows

BASE = "base"
REWARD = "reward/total/mean"


class CircuitError(ValueError):
    """Say why a run's circuits cannot be told, and what would do."""


@dataclass(frozen=True)
class Snapshot:
    """Hold a policy on a run's way: its stage and step, where it lies, and the mean reward since the one before.

    The base has no stage; there is no reward in a stage that has none.
    """

    stage: str
    step: int
    path: str
    reward: float | None = None

    @property
    def name(self) -> str:
        """Return what it is called in tables and files."""
        return BASE if not self.stage else f"{self.stage}-{self.step}"


@dataclass(frozen=True)
class Kept:
    """Hold the snapshots of a run from its base on, and what is said of the checkpoints that are left out."""

    snapshots: list[Snapshot]
    faults: list[str]


def find_snapshots(run: Path, recipe: Recipe, stage: str | None) -> Kept:
    """Return what a run has kept, of one stage or of all. Raises CircuitError where there is nothing."""
    names = [one.name for one in recipe.stages]
    if stage is not None and stage not in names:
        raise CircuitError(f"--stage {stage}: the run has the stages {', '.join(names)}")
    own = run / "checkpoints" / BASE
    base = str(own) if (own / "config.json").is_file() else recipe.model.name
    snapshots, faults = [Snapshot("", 0, base)], []
    try:
        rows = read_rows(run / "metrics.jsonl")
    except ValueError as error:
        raise CircuitError(str(error)) from None
    for section in recipe.stages:
        if stage in (None, section.name):
            found = _found(run / "checkpoints" / section.name, int(section.trainer.steps), faults)
            steps = [0, *(step for step, _ in found)]
            for (step, path), before in zip(found, steps, strict=False):
                reward = mean_reward(rows, section.name, before, step)
                snapshots.append(Snapshot(section.name, step, str(path), reward))
    if len(snapshots) == 1:
        said = f" ({'; '.join(faults)})" if faults else ""
        raise CircuitError(f"{run}: has kept no checkpoint to look at{said}; train it with checkpoints.every and keep")
    return Kept(snapshots, faults)


def mean_reward(rows: Sequence[dict[str, Any]], stage: str, after: int, until: int) -> float | None:
    """Return the mean reward of a stage's steps after one and until another; None where there is none."""
    own = [row for row in rows if row.get("stage") == stage and after < row.get("step", 0) <= until]
    values = [float(row[REWARD]) for row in own if row.get(REWARD) is not None]
    return math.fsum(values) / len(values) if values else None


def load_snapshot(snapshot: Snapshot, recipe: Recipe) -> PreTrainedModel:
    """Load a snapshot's model, adapters merged into a copy in memory. Raises ModelError."""
    model: Any
    if snapshot.stage:
        model = models.load_trained(snapshot.path)
        if hasattr(model, "merge_and_unload"):
            model = model.merge_and_unload()
    else:
        revision = recipe.model.revision if snapshot.path == recipe.model.name else None
        model = models.load_policy(snapshot.path, revision=revision)
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")  # transformers' sdpa leaves the cap out
    return model.eval()


def _found(folder: Path, steps: int, faults: list[str]) -> list[tuple[int, Path]]:
    """Return a stage's whole checkpoints by step, and its final policy where none has that step."""
    found = []
    for path in sorted(folder.glob(f"{PREFIX}*"), key=step_of):
        if step_of(path) < 0 or not path.is_dir():
            continue
        fault = fault_of(path)
        if fault is None:
            found.append((step_of(path), path))
        else:
            faults.append(f"{path} is damaged ({fault}) and left out")
    final = folder / "final"
    if final.is_dir() and steps not in [step for step, _ in found]:
        found.append((steps, final))
    return found
