"""The answers that an evaluation keeps, each a row of generations.jsonl."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from rl.telemetry.jsonl import read_rows

Key = tuple[int, int]  # the number of a task, and of its sample


class Answer(BaseModel, frozen=True, strict=True):
    """Hold what a policy wrote to a task, its length in tokens, what each reward gives it, and whether it is right.

    `source` and `answer` are the task's, the gold answer among them. `correct`, or a part, is None where nothing says.
    """

    task: int
    sample: int
    source: str
    answer: str
    question: str
    completion: str
    num_tokens: int
    num_reasoning_tokens: int
    num_reminder_tokens: int = 0
    cut: bool
    correct: bool | None
    parts: Mapping[str, float | None]

    @property
    def key(self) -> Key:
        """Return which answer of the evaluation this is."""
        return self.task, self.sample


def read_answers(path: Path) -> dict[Key, Answer]:
    """Return the answers that are there, in the order of tasks, each once. Raises ValueError naming the line."""
    found: dict[Key, Answer] = {}
    for number, row in enumerate(read_rows(path), 1):
        try:
            answer = Answer.model_validate(row)
        except ValidationError as error:
            key = error.errors()[0]["loc"][0]
            raise ValueError(f"{path}:{number}: is no answer of an evaluation ({key}); remove the line") from None
        found.setdefault(answer.key, answer)
    return dict(sorted(found.items()))
