"""Do the tasks fit into the model's context?"""

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from rl.data.task import DataError, Task, prompt


def check_fit(
    tasks: Sequence[Task],
    tokenizer: PreTrainedTokenizerBase,
    system: str | None,
    words: str,
    context: int,
    max_completion: int | None,
    remedy: str,
) -> None:
    """Raise DataError for the first task whose prompt and completion are together longer than context, in tokens.

    `words` follow every question. The completion is the task's own where max_completion is None, else a rollout of at
    most max_completion tokens.
    """
    prompts = [prompt(replace(task, question=task.question + words), system) for task in tasks]
    rendered = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
    lengths = [len(ids) for ids in tokenizer(rendered, add_special_tokens=False)["input_ids"]]  # pyright: ignore
    if max_completion is None:
        texts = [task.completion or "" for task in tasks]
        rooms = [len(ids) + 2 for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]  # pyright: ignore
    else:
        rooms = [max_completion] * len(tasks)
    for task, length, room in zip(tasks, lengths, rooms, strict=True):
        if length + room > context:
            at_most = "up to " if max_completion else ""
            sizes = f"prompt of {length} tokens and completion of {at_most}{room}"
            raise DataError(f"{task.source}: {sizes} do not fit into {context}; {remedy}")
