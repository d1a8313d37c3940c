"""A task, and the words it is put to the model in."""

from dataclasses import dataclass

Message = dict[str, str]


class DataError(ValueError):
    """Say what is wrong with a data source, naming its file and line."""


@dataclass(frozen=True, slots=True)
class Task:
    """Hold one problem. `source` is where it came from (file:line), `completion` a worked answer if there is one."""

    source: str
    question: str
    answer: str
    completion: str | None = None


def prompt(task: Task, system: str | None) -> list[Message]:
    """Return the chat messages that put the task to the model."""
    opening = [{"role": "system", "content": system}] if system else []
    return [*opening, {"role": "user", "content": task.question}]
