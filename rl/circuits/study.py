"""From a run to the circuits of its checkpoints: resumable checkpoint by checkpoint."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rl.circuits.attribute import Attribution, attribute, num_steps
from rl.circuits.edges import Edge, heads_of, keep
from rl.circuits.emergence import Change, changes
from rl.circuits.graph import Graph
from rl.circuits.openings import PAIRS, Opening, read_openings, write_openings
from rl.circuits.snapshots import CircuitError, Kept, Snapshot, load_snapshot
from rl.emergence import rank_correlation
from rl.policy import digest_of
from rl.recipe.sections import Recipe
from rl.telemetry.jsonl import write_atomically
from rl.telemetry.record import last_policy, locked

SETTINGS, RESULT = "settings.json", "heads.json"


@dataclass(frozen=True)
class Options:
    """Say of how many tasks and tokens pairs are made, in how many steps edges are attributed, and what is kept."""

    pairs: int
    opening: int
    steps: int
    micro_batch: int
    top: int
    threshold: float


@dataclass(frozen=True)
class Circuit:
    """Hold a snapshot with its attribution and the edges and heads of its circuit."""

    snapshot: Snapshot
    found: Attribution
    edges: list[Edge]

    @property
    def heads(self) -> frozenset[tuple[int, int]]:
        """Return the circuit's heads."""
        return heads_of(self.found.graph, self.edges)


@dataclass(frozen=True)
class Study:
    """Hold the circuits of a run, the base's first, and how many openings told anything, of how many."""

    circuits: list[Circuit]
    pairs: int
    tasks: int

    @property
    def changes(self) -> list[Change]:
        """Return what became of the base's circuit at each checkpoint."""
        base, *others = [one.heads for one in self.circuits]
        return changes(base, others)

    @property
    def spearman(self) -> float | None:
        """Return the rank correlation of how many heads are new against the base with the reward."""
        counts = [float(len(one.newly_active)) for one in self.changes]
        rewards = [one.snapshot.reward for one in self.circuits[1:]]
        told = [(count, reward) for count, reward in zip(counts, rewards, strict=True) if reward is not None]
        return rank_correlation(*zip(*told, strict=True)) if told else None


def study(
    run: Path,
    recipe: Recipe,
    kept: Kept,
    options: Options,
    folder: Path,
    begin: Callable[[str, int, int], None],
    heard: Callable[[], None],
) -> Study:
    """Attribute the edges of every snapshot from where an earlier attempt left off, and write heads.json.

    Raises CircuitError, StructureError, ModelError, DataError and RunError.
    """
    try:
        settings = _settings(run, options)
        _check(folder, settings)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            openings = read_openings(folder) if (folder / SETTINGS).is_file() else None
            if openings is None:
                openings = write_openings(run, recipe, kept.snapshots[0], options.pairs, options.opening, folder)
                write_atomically(
                    folder / SETTINGS, json.dumps(settings, indent=2) + "\n"
                )  # last: it makes the rest good
            circuits = _attribute_all(recipe, kept.snapshots, openings, options, folder, begin, heard)
            found = Study(circuits, sum(one.differs for one in openings), len(openings))
            write_atomically(folder / RESULT, json.dumps(_said(found, options, kept), indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise CircuitError(f"{error.filename or folder}: {error.strerror}; give --out another folder") from None
    return found


def read_heads(folder: Path) -> frozenset[tuple[int, int]]:
    """Return the heads of the last circuit that a study wrote down. Raises CircuitError."""
    try:
        last = json.loads((folder / RESULT).read_text(encoding="utf-8"))["checkpoints"][-1]
        return frozenset((int(layer), int(head)) for layer, _, head in (one.partition(".") for one in last["heads"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise CircuitError(f"{folder / RESULT}: tells of no circuit; let `rhythm heads` find it first") from None


def done_before(kept: Kept, folder: Path) -> list[Snapshot]:
    """Return the snapshots that an earlier attempt has attributed."""
    return [one for one in kept.snapshots if _read(folder, one) is not None]


def _attribute_all(
    recipe: Recipe,
    snapshots: Sequence[Snapshot],
    openings: Sequence[Opening],
    options: Options,
    folder: Path,
    begin: Callable[[str, int, int], None],
    heard: Callable[[], None],
) -> list[Circuit]:
    told = [one for one in openings if one.differs]
    each = num_steps(len(told), options.steps, options.micro_batch)
    there = {one.name: found for one in snapshots if (found := _read(folder, one)) is not None}
    begin(f"circuits of {len(snapshots)} policies", each * len(snapshots), each * len(there))
    for one in snapshots:
        if one.name not in there:
            model = load_snapshot(one, recipe)
            if torch.accelerator.is_available():
                model = model.to(torch.accelerator.current_accelerator())  # pyright: ignore
            pairs = [opening.pair(trained=bool(one.stage)) for opening in told]
            found = attribute(model, pairs, steps=options.steps, micro_batch=options.micro_batch, heard=heard)
            if not (math.isfinite(found.gap) and bool(found.scores.isfinite().all())):
                raise CircuitError(f"{one.path}: gives no finite probabilities; its weights are damaged")
            _write(folder, one, found)
            there[one.name] = found
            del model
    return [Circuit(one, there[one.name], keep(there[one.name], options.top, options.threshold)) for one in snapshots]


def _write(folder: Path, snapshot: Snapshot, found: Attribution) -> None:
    path = _path(folder, snapshot)
    about = {
        "weights": str(digest_of(Path(snapshot.path))),
        "pairs": _pairs_digest(folder),
        "gap": repr(found.gap),
        **_text(asdict(found.graph)),
    }
    part = path.with_name(path.name + ".part")
    save_file({"scores": found.scores.contiguous()}, part, about)
    part.replace(path)


def _read(folder: Path, snapshot: Snapshot) -> Attribution | None:
    """Return what was attributed to a snapshot; None where nothing was, or to other weights or by other pairs."""
    path = _path(folder, snapshot)
    with suppress(SafetensorError, OSError, KeyError, ValueError), safe_open(path, framework="pt") as file:
        about = file.metadata()
        if (about["weights"], about["pairs"]) == (str(digest_of(Path(snapshot.path))), _pairs_digest(folder)):
            graph = Graph(*(int(about[name]) for name in ("num_layers", "num_heads", "num_key_heads")))
            return Attribution(graph, file.get_tensor("scores"), float(about["gap"]))
    return None


def _pairs_digest(folder: Path) -> str:
    return hashlib.sha256((folder / PAIRS).read_bytes()).hexdigest()


def _path(folder: Path, snapshot: Snapshot) -> Path:
    return folder / f"{snapshot.name}.safetensors"


def _text(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def _settings(run: Path, options: Options) -> dict[str, Any]:
    """Return what attributions depend on, but for each snapshot's own weights."""
    final = last_policy(run)
    chosen = {name: getattr(options, name) for name in ("pairs", "opening", "steps")}
    return {**chosen, "final": final and digest_of(final)}


def _check(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise CircuitError where a folder was begun with other settings."""
    path = folder / SETTINGS
    if not path.is_file():
        return
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CircuitError(f"{path}: cannot be read: {error}; give --out another folder") from None
    changed = ", ".join(sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key)))
    if changed:
        raise CircuitError(f"{folder}: was begun with other settings ({changed}); give --out another folder")


def _said(found: Study, options: Options, kept: Kept) -> dict[str, Any]:
    rows = []
    for circuit, change in zip(found.circuits, [None, *found.changes], strict=True):
        one = circuit.snapshot
        row = {"name": one.name, "stage": one.stage or None, "step": one.step, "reward": one.reward}
        row |= {"edges": len(circuit.edges), "gap": circuit.found.gap, "completeness": circuit.found.completeness}
        row |= {"heads": names_of(circuit.heads)}
        if change is not None:
            row |= {name: names_of(getattr(change, name)) for name in ("newly_active", "retained", "fresh")}
        rows.append(row)
    counts = {"pairs": found.pairs, "tasks": found.tasks, "left_out": kept.faults}
    return {"options": asdict(options), **counts, "spearman": found.spearman, "checkpoints": rows}


def names_of(heads: frozenset[tuple[int, int]]) -> list[str]:
    """Return heads by their names, such as 3.1, in order."""
    return [f"{layer}.{head}" for layer, head in sorted(heads)]
