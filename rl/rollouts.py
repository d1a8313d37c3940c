"""Tasks as TRL's columns, and what is kept of each rollout."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset

from rewards import Sample, Score
from rl.data import Task, prompt
from rl.effort import Dial


@dataclass(frozen=True, slots=True)
class Rollout:
    """Hold one scored completion: its token ids, the sample that was judged, and the score."""

    prompt: str
    token_ids: tuple[int, ...]
    sample: Sample
    score: Score


@dataclass(frozen=True, slots=True)
class KeptRollout:
    """Hold a rollout with what each of its tokens got: sequences as long as token_ids, None where not measured."""

    rollout: Rollout
    group: int
    advantage: float
    waad: Sequence[float] | None = None
    fai: Sequence[float] | None = None
    weights: Sequence[float] | None = None
    anchors: Sequence[bool] | None = None
    preplan: Sequence[bool] | None = None


def prompt_dataset(tasks: Sequence[Task], system: str | None) -> Dataset:
    """Return the tasks as the data set that TRL's RL trainers take: `prompt`, and the number of the `task`."""
    return Dataset.from_list([{"prompt": prompt(task, system), "task": index} for index, task in enumerate(tasks)])


def completion_dataset(tasks: Sequence[Task], system: str | None, dial: Dial | None = None) -> Dataset:
    """Return the tasks as the data set that TRL's SFT trainer takes: `prompt` and `completion`.

    With a dial each prompt asks for some effort, whatever the completion's length is, so that the words are known.
    """
    rows = []
    for index, task in enumerate(tasks):
        messages = prompt(task, system)
        if dial is not None:
            messages = dial.dress(messages, dial.draw(0, index, 0))
        rows.append({"prompt": messages, "completion": [{"role": "assistant", "content": task.completion}]})
    return Dataset.from_list(rows)
