"""The openings of a run's answers, by its base model and by its final policy: what circuits are told by."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rl.circuits.pairs import Pair
from rl.circuits.snapshots import CircuitError, Snapshot, load_snapshot
from rl.data import Task
from rl.policy import Policy
from rl.recipe.sections import Recipe
from rl.recipe.seeds import EVALUATION, task_seed
from rl.sourcing import load_tasks
from rl.telemetry.jsonl import read_rows, write_atomically

PAIRS = "pairs.jsonl"


@dataclass(frozen=True)
class Opening:
    """Hold how a task is answered at first, in tokens as in words, by the base model and by the final policy."""

    task: str
    question: str
    prompt: list[int]
    base: list[int]
    trained: list[int]
    base_text: str
    trained_text: str

    @property
    def differs(self) -> bool:
        """Say whether there is anything to tell the models by."""
        return self.base != self.trained

    def pair(self, trained: bool) -> Pair:
        """Return the pair for a model: its own opening is clean, the other's corrupt."""
        ours, theirs = (self.trained, self.base) if trained else (self.base, self.trained)
        return Pair(self.task, tuple(self.prompt + ours), tuple(self.prompt + theirs))


def tasks_of(recipe: Recipe, count: int) -> list[Task]:
    """Return the first tasks of the last stage's data, which no stage has trained on where they are generated."""
    source = recipe.stages[-1].data or recipe.data
    return list(load_tasks(source, task_seed(recipe.seed, EVALUATION), worked=False)[:count])


def read_openings(folder: Path) -> list[Opening] | None:
    """Return the openings of an earlier attempt; None where it wrote none. Raises CircuitError."""
    path = folder / PAIRS
    if not path.is_file():
        return None
    try:
        return [Opening(**row) for row in read_rows(path)]
    except (ValueError, TypeError) as error:
        raise CircuitError(f"{path}: cannot be read: {error}; remove it, and it is written again") from None


def write_openings(run: Path, recipe: Recipe, base: Snapshot, count: int, length: int, folder: Path) -> list[Opening]:
    """Let the base model and the final policy begin answers greedily, and write pairs.jsonl.

    Both are asked in the final policy's words. Raises CircuitError where all openings agree.
    """
    final = Policy.load(str(run), fallback=(recipe.stages[-1].data or recipe.data).system)
    tasks = tasks_of(recipe, count)
    prompts = [final.ids(final.prompt(task)) for task in tasks]
    trained = _begin(final, prompts, tasks, length)
    begun = Policy(
        base.path, load_snapshot(base, recipe).to(final.model.device), final.tokenizer, final.system, None, 0
    )
    openings = []
    for task, prompt, one, other in zip(tasks, prompts, _begin(begun, prompts, tasks, length), trained, strict=True):
        same = min(len(one), len(other))
        ours, theirs = one[:same], other[:same]
        openings.append(Opening(task.source, task.question, prompt, ours, theirs, final.text(ours), final.text(theirs)))
    if not any(one.differs for one in openings):
        raise CircuitError(
            f"{run}: the base model and the final policy begin all {len(openings)} answers alike, so nothing sets "
            "their circuits apart; give more --pairs, or a longer --opening"
        )
    write_atomically(folder / PAIRS, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in openings))
    return openings


def _begin(policy: Policy, prompts: Sequence[list[int]], tasks: Sequence[Task], length: int) -> list[list[int]]:
    most = [policy.room(prompt, length, task.source) for prompt, task in zip(prompts, tasks, strict=True)]
    return [one.ids for one in policy.write(prompts, most, 0.0)]
