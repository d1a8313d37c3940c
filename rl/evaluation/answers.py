"""The answers that an evaluation keeps, each a row of generations.jsonl."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat, ValidationError

from rl.telemetry.jsonl import read_rows

Key = tuple[int, int]  # the number of a task, and of its sample
Count = Annotated[int, Field(ge=0, lt=1 << 32)]


def _writable(text: str) -> str:
    text.encode()  # half a character, which JSON can spell and no file can hold, raises a ValueError
    return text


Text = Annotated[str, AfterValidator(_writable)]


class Answer(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Hold what a policy wrote to a task, its length in tokens, what each reward gives it, and whether it is right.

    `source` and `answer` are the task's, the gold answer among them. `correct`, or a part, is None where nothing says.
    """

    task: int
    sample: int
    source: Text
    answer: Text
    question: Text
    completion: Text
    num_tokens: Count
    num_reasoning_tokens: Count
    num_reminder_tokens: Count
    cut: bool
    correct: bool | None
    parts: Mapping[str, FiniteFloat | None]

    @property
    def key(self) -> Key:
        """Return which answer of the evaluation this is."""
        return self.task, self.sample


Read = Callable[[Answer], float | None]


def read_answers(path: Path) -> dict[Key, Answer]:
    """Return the answers that are there, in the order of tasks, each once. Raises ValueError naming the line."""
    found: dict[Key, Answer] = {}
    parts = None
    for number, row in enumerate(read_rows(path), 1):
        try:
            answer = Answer.model_validate(row)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}" for one in error.errors())
            raise ValueError(f"{path}:{number}: is no answer of an evaluation ({faults}); remove the line") from None
        parts = answer.parts.keys() if parts is None else parts
        if answer.parts.keys() != parts:
            raise ValueError(f"{path}:{number}: has other parts of the reward than the answers before; remove the line")
        found.setdefault(answer.key, answer)
    return dict(sorted(found.items()))
