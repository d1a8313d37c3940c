"""The adapter between TRL's columns and samples: from completions to scores, and what is kept of each rollout."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from rewards import Rubric, Sample, Score
from rl.data import Message, Task, prompt


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
    """Return the tasks as the data set that TRL's RL trainers take: `prompt` and what rewards need of each task."""
    columns = [{"prompt": prompt(task, system), "question": task.question, "answer": task.answer} for task in tasks]
    return Dataset.from_list(columns)


def completion_dataset(tasks: Sequence[Task], system: str | None) -> Dataset:
    """Return the tasks as the data set that TRL's SFT trainer takes: `prompt` and `completion`."""
    return Dataset.from_list(
        [
            {"prompt": prompt(task, system), "completion": [{"role": "assistant", "content": task.completion}]}
            for task in tasks
        ]
    )


class RubricReward:
    """Score completions with a rubric, as the one reward function that TRL sees; keeps the batch it scored last.

    Completions are decoded from their ids with special tokens kept, since TRL's own text drops them and with them any
    tag that a tokenizer holds as special (</think>), which would silence every reward. `end_ids` are tokens that end a
    completion beside the tokenizer's own.
    """

    __name__ = "total"

    def __init__(self, rubric: Rubric, tokenizer: PreTrainedTokenizerBase, end_ids: Collection[int] = ()) -> None:
        self.rubric, self.tokenizer = rubric, tokenizer
        self.end_ids = [*end_ids, tokenizer.eos_token_id, tokenizer.pad_token_id]
        self.rollouts: list[Rollout] = []

    def __call__(
        self,
        prompts: Sequence[list[Message]],
        completion_ids: Sequence[Sequence[int]],
        question: Sequence[str],
        answer: Sequence[str],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        """Return one total per completion; None where no part of the rubric could judge."""
        self.rollouts = [self._rollout(*row) for row in zip(prompts, completion_ids, question, answer, strict=True)]
        for rollout in self.rollouts:
            for name, value in rollout.score.parts.items():
                if value is not None:
                    log_metric(f"reward/{name}/mean", value)
        return [rollout.score.total for rollout in self.rollouts]

    def _rollout(self, messages: list[Message], ids: Sequence[int], question: str, answer: str) -> Rollout:
        tokenizer = self.tokenizer
        kept = list(ids)
        truncated = not kept or kept[-1] not in self.end_ids
        while kept and kept[-1] in self.end_ids:
            kept.pop()
        text = tokenizer.decode(kept, skip_special_tokens=False)
        assert isinstance(text, str)
        sample = Sample(question=question, answer=answer, completion=text, truncated=truncated)
        shown = "\n".join(message["content"] for message in messages)
        return Rollout(shown, tuple(ids), sample, self.rubric.score(sample))
