"""Let a policy answer tasks, judge what it says, and write everything down: resumable batch by batch."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rewards import Rubric, Sample
from rl.data import Task
from rl.evaluation.results import Results, results_of
from rl.generate import Again, Reply, replies
from rl.policy import Policy
from rl.telemetry.jsonl import JsonLines, keep_rows, read_rows, write_atomically

GENERATIONS, SETTINGS, RESULTS = "generations.jsonl", "settings.json", "results.json"


class EvaluationError(ValueError):
    """Say why a policy cannot be evaluated, and what would do."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """Say how answers are generated: how many of each task, how long, how hot, in batches of how many."""

    samples: int
    max_tokens: int
    temperature: float
    again: Again | None
    batch: int
    seed: int


@dataclass(frozen=True)
class Suite:
    """Hold the tasks, the rewards that judge, and which of their parts can be worked out of an answer alone."""

    tasks: Sequence[Task]
    rubric: Rubric
    parts: Sequence[str]

    def judge(self, task: Task, reply: Reply, length: int) -> tuple[dict[str, float | None], bool | None]:
        """Return what every part gives a reply, and whether it is right."""
        sample = Sample(task.question, task.answer, reply.completion, reply.cut, task.facts, length)
        parts = {name: self.rubric.part(name, sample) for name in self.parts}
        return parts, self.rubric.is_correct(parts)


def evaluate(
    policy: Policy,
    suite: Suite,
    decoding: Decoding,
    folder: Path,
    settings: Mapping[str, Any],
    begin: Callable[[str, int, int], None],
    heard: Callable[[int], None],
) -> Results:
    """Answer and judge every task, from where an earlier attempt left off, and write results.json.

    `settings` is what the answers depend on; a folder with others is refused. The answers of a batch come out of its
    own seed, so that a resumed evaluation is the one that was never broken off. Raises EvaluationError and RewardError.
    """
    _take_up(folder, settings)
    path = folder / GENERATIONS
    wanted = [(index, sample) for index in range(len(suite.tasks)) for sample in range(decoding.samples)]
    batches = [wanted[start : start + decoding.batch] for start in range(0, len(wanted), decoding.batch)]
    there = {(row["task"], row["sample"]) for row in read_rows(path)}
    whole = [batch for batch in batches if there.issuperset(batch)]
    kept = {key for batch in whole for key in batch}
    keep_rows(path, lambda row: (row["task"], row["sample"]) in kept)  # a batch is there whole or not at all
    begin("answers", len(wanted), len(kept))
    writer = JsonLines(path)
    try:
        for number, batch in enumerate(batches):
            if batch[0] not in kept:
                torch.manual_seed(decoding.seed * 1_000_003 + number)
                writer.write(*_answers(policy, suite, decoding, batch))
                heard(len(batch))
    finally:
        writer.close()
    results = results_of(read_rows(path), decoding.seed)
    write_atomically(folder / RESULTS, json.dumps({**settings, "results": asdict(results)}, indent=2) + "\n")
    return results


def _answers(
    policy: Policy, suite: Suite, decoding: Decoding, batch: Sequence[tuple[int, int]]
) -> list[dict[str, Any]]:
    tasks = [suite.tasks[index] for index, _ in batch]
    told = replies(
        policy, tasks, max_tokens=decoding.max_tokens, temperature=decoding.temperature, again=decoding.again
    )
    rows = []
    for (index, sample), task, reply in zip(batch, tasks, told, strict=True):
        parts, correct = suite.judge(task, reply, reply.num_reasoning_tokens)
        row = {"task": index, "sample": sample, "source": task.source, "answer": task.answer}
        row |= {**asdict(reply), "correct": correct, "parts": parts}
        rows.append(row)
    return rows


def _take_up(folder: Path, settings: Mapping[str, Any]) -> None:
    """Begin a folder, or go on with one of the same settings. Raises EvaluationError."""
    path = folder / SETTINGS
    text = json.dumps(settings, indent=2) + "\n"
    try:
        if not path.is_file():
            if folder.is_dir() and any(folder.iterdir()):
                raise EvaluationError(f"{folder}: is there already, and is no evaluation; give --out another folder")
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
        elif (before := json.loads(path.read_text(encoding="utf-8"))) != json.loads(text):
            changed = ", ".join(key for key in settings if before.get(key) != json.loads(text)[key])
            raise EvaluationError(f"{folder}: was begun with other settings ({changed}); give --out another folder")
    except OSError as error:
        raise EvaluationError(f"{error.filename or folder}: {error.strerror}; give --out another folder") from None
    except json.JSONDecodeError as error:
        raise EvaluationError(f"{path}: cannot be read: {error}; give --out another folder") from None
