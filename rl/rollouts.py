"""Tasks as TRL's columns, and what is kept of each rollout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

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
    """Hold a rollout with what each of its tokens got: sequences as long as token_ids, None where not measured.

    `advantage` is the completion's, or the mean of its tokens' `advantages` where a critic tells them apart.
    """

    rollout: Rollout
    group: int
    advantage: float
    waad: Sequence[float] | None = None
    fai: Sequence[float] | None = None
    weights: Sequence[float] | None = None
    anchors: Sequence[bool] | None = None
    preplan: Sequence[bool] | None = None
    advantages: Sequence[float] | None = None
    values: Sequence[float] | None = None


def prompt_dataset(tasks: Sequence[Task], system: str | None) -> Dataset:
    """Return the tasks as the data set that TRL's RL trainers take: `prompt`, and the number of the `task`."""
    return Dataset.from_list([{"prompt": prompt(task, system), "task": index} for index, task in enumerate(tasks)])


def evenly(tasks: Sequence[Task], count: int) -> list[Task]:
    """Return at most count tasks, evenly spaced."""
    count = min(count, len(tasks))
    return [tasks[index * len(tasks) // count] for index in range(count)]


def tokens_of(row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the tokens of a row of a completion_dataset: its prompt's, and its completion's in the chat template.

    What the template writes otherwise in front of a completion than in front of a rollout is the completion's.
    """
    said = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], tokenize=False)
    prompt, both = (list(tokenizer(str(text), add_special_tokens=False)["input_ids"]) for text in (said, whole))
    pairs = enumerate(zip(prompt, both, strict=False))
    start = next((place for place, (one, other) in pairs if one != other), min(len(prompt), len(both)))
    return prompt[:start], both[start:]  # pyright: ignore


def completion_dataset(
    tasks: Sequence[Task], system: str | None, tokenizer: PreTrainedTokenizerBase, dial: Dial | None = None
) -> Dataset:
    """Return the tasks as the data set that TRL's SFT trainer takes: `prompt` and `completion`.

    With a dial each prompt asks for what its completion takes, so that the policy learns what the words mean.
    """
    prompts = [prompt(task, system) for task in tasks]
    if dial is not None:
        lengths = [dial.length(tokenizer, tokenizer(task.completion or "")["input_ids"]) for task in tasks]
        asked = dial.in_hindsight([task.question for task in tasks], lengths)
        prompts = [dial.dress(messages, value) for messages, value in zip(prompts, asked, strict=True)]
    return Dataset.from_list(
        [
            {"prompt": messages, "completion": [{"role": "assistant", "content": task.completion}]}
            for messages, task in zip(prompts, tasks, strict=True)
        ]
    )
