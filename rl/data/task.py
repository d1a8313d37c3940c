"""A task, and the words it is put to the model in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, str]


class DataError(ValueError):
    """Say what is wrong with a data source, naming its file and line."""


@dataclass(frozen=True, slots=True)
class Task:
    """Hold one problem.

    `source` is where it came from (file:line), and its name; `answer` is empty where there is no gold one; `completion`
    is a worked answer if there is one; `system` is the task's own system prompt; `facts` are what rewards may see.
    """

    source: str
    question: str
    answer: str
    completion: str | None = None
    system: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def prompt(task: Task, system: str | None) -> list[Message]:
    """Return the chat messages that put the task to the model: system prompts, the recipe's first, and the question."""
    systems = [text for text in (system, task.system) if text]
    opening = [{"role": "system", "content": "\n\n".join(systems)}] if systems else []
    return [*opening, {"role": "user", "content": task.question}]
