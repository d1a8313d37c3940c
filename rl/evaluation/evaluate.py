"""Let a policy answer tasks, judge what it says, and write everything down: resumable batch by batch."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewards import Rubric, Sample
from rl.data import Task
from rl.evaluation.answers import Answer, Key, read_answers
from rl.evaluation.decoding import Decoding, Writer, writer_of
from rl.evaluation.results import Results, results_of
from rl.generate import Again, Asked, Reply, ask, replies
from rl.policy import Policy
from rl.telemetry.jsonl import JsonLines, write_atomically
from rl.telemetry.record import locked

GENERATIONS, SETTINGS, RESULTS = "generations.jsonl", "settings.json", "results.json"


class EvaluationError(ValueError):
    """Say why a policy cannot be evaluated, and what would do."""


@dataclass(frozen=True)
class Suite:
    """Hold the tasks, the rewards that judge, and which of their parts can be worked out of an answer alone.

    Without a rubric nothing is right or wrong. The last `asides` tasks are put for a judge's sake, and counted nowhere.
    """

    tasks: Sequence[Task]
    rubric: Rubric | None
    parts: Sequence[str] = ()
    asides: int = 0

    def judge(self, task: Task, reply: Reply) -> tuple[dict[str, float | None], bool | None]:
        """Return what every part gives a reply, and whether it is right."""
        if self.rubric is None:
            return {}, None
        sample = Sample(task.question, task.answer, reply.completion, reply.cut, task.facts, reply.num_reasoning_tokens)
        parts = {name: self.rubric.part(name, sample) for name in self.parts}
        return parts, self.rubric.is_correct(parts)

    @property
    def counted(self) -> int:
        """Count the tasks that results are of."""
        return len(self.tasks) - self.asides


def evaluate(
    policy: Policy,
    suite: Suite,
    decoding: Decoding,
    folder: Path,
    settings: Mapping[str, Any],
    begin: Callable[[str, int, int], None],
    heard: Callable[[int], None],
    again: Again | None = None,
    writer: Callable[[], Writer] | None = None,
) -> Results:
    """Answer and judge every task, from where an earlier attempt left off, and write results.json.

    `settings` is what the answers depend on; a folder with others is refused. The answers of a batch come out of its
    own seed, so that a resumed evaluation is the one that was never broken off. `writer` is asked for who writes only
    where something is left to be written. Raises EvaluationError and RewardError.
    """
    asked = [ask(policy, task, decoding.max_tokens, again) for task in suite.tasks]  # each fits, or none is
    take_up(folder, settings)
    try:
        with locked(folder):
            _answer_all(policy, suite, decoding, again, asked, folder / GENERATIONS, writer, begin, heard)
            results = results_of(answers_in(folder, suite), decoding.seed)
            write_results(folder, {**settings, "results": asdict(results)})
    except OSError as error:
        raise EvaluationError(f"{error.filename or folder}: {error.strerror}") from None
    return results


def answers_in(folder: Path, suite: Suite) -> list[Answer]:
    """Return the answers that count, in the order of tasks. Raises EvaluationError."""
    return [answer for answer in all_answers(folder) if answer.task < suite.counted]


def all_answers(folder: Path) -> list[Answer]:
    """Return all answers in the order of tasks, also those that count nowhere. Raises EvaluationError."""
    return list(_read(folder / GENERATIONS).values())


def write_results(folder: Path, told: Mapping[str, Any]) -> None:
    """Write results.json. Raises OSError."""
    write_atomically(folder / RESULTS, json.dumps(told, indent=2, allow_nan=False) + "\n")


def _answer_all(
    policy: Policy,
    suite: Suite,
    decoding: Decoding,
    again: Again | None,
    asked: Sequence[Asked],
    path: Path,
    writer: Callable[[], Writer] | None,
    begin: Callable[[str, int, int], None],
    heard: Callable[[int], None],
) -> None:
    """Answer what has no row yet, batch by batch: a batch is there whole or not at all."""
    wanted = [(index, sample) for index in range(len(asked)) for sample in range(decoding.samples)]
    batches = [wanted[start : start + decoding.batch] for start in range(0, len(wanted), decoding.batch)]
    there = _read(path)
    kept = {key for batch in batches if all(key in there for key in batch) for key in batch}
    write_atomically(
        path, "".join(json.dumps(there[key].model_dump(), ensure_ascii=False) + "\n" for key in sorted(kept))
    )
    begin("answers", len(wanted), len(kept))
    if len(kept) == len(wanted):
        return
    told_by, rows = writer() if writer else writer_of(policy, decoding), JsonLines(path)
    try:
        for number, batch in enumerate(batches):
            if batch[0] not in kept:
                told_by.begin(number)
                put = [asked[index] for index, _ in batch]
                told = replies(policy, put, temperature=decoding.temperature, again=again, write=told_by.write)
                rows.write(*(answer.model_dump() for answer in _judged(suite, batch, put, told)))
                heard(len(batch))
    finally:
        rows.close()


def _judged(suite: Suite, batch: Sequence[Key], put: Sequence[Asked], told: Sequence[Reply]) -> list[Answer]:
    answers = []
    for (number, sample), one, reply in zip(batch, put, told, strict=True):
        parts, correct = suite.judge(one.task, reply)
        own = {"task": number, "sample": sample, "source": one.task.source, "answer": one.task.answer}
        answers.append(Answer(**own, **asdict(reply), correct=correct, parts=parts))
    return answers


def _read(path: Path) -> dict[Key, Answer]:
    try:
        return read_answers(path)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def take_up(folder: Path, settings: Mapping[str, Any]) -> None:
    """Begin a folder, or go on with one of the same settings. Raises EvaluationError."""
    check_settings(folder, settings)
    try:
        if not (folder / SETTINGS).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / SETTINGS, json.dumps(settings, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise EvaluationError(f"{error.filename or folder}: {error.strerror}; give --out another folder") from None


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise EvaluationError where a folder was begun with other settings, or holds something else; writes nothing."""
    path = folder / SETTINGS
    try:
        if not path.is_file():
            if folder.is_dir() and any(folder.iterdir()):
                raise EvaluationError(f"{folder}: is there already, and is no evaluation; give --out another folder")
        elif (before := _read_settings(path)) != json.loads(json.dumps(settings, allow_nan=False)):
            changed = ", ".join(sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key)))
            raise EvaluationError(f"{folder}: was begun with other settings ({changed}); give --out another folder")
    except OSError as error:
        raise EvaluationError(f"{error.filename or folder}: {error.strerror}; give --out another folder") from None


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvaluationError(f"{path}: cannot be read: {error}; give --out another folder") from None
    if not isinstance(before, dict):
        raise EvaluationError(f"{path}: should hold an object; give --out another folder")
    return before
