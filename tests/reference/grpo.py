"""A GRPO trainer on the tiny model, small enough for a test, and what to look at afterwards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig, GRPOTrainer

from rewards import Rubric
from rl import tiny
from rl.attention import Heads
from rl.credit import coupled
from rl.data.sources import from_reasoning_gym
from rl.rollouts import prompt_dataset
from rl.scoring import Scorer
from rl.trainers.grpo import GrpoTrainer
from rl.trainers.token_credit import CreditSettings

OPTIONS = {"min_terms": 3, "max_terms": 4, "min_digits": 1, "max_digits": 1}
TASKS = from_reasoning_gym("chain_sum", 32, 0, OPTIONS)
CREDIT = CreditSettings(rule=coupled, horizon=(3, 20), reselect_every=2)


class Seen:
    """Keep what the trainer told its observer."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, Heads]] = []
        self.rollouts: list[tuple[int, list]] = []

    def saw_heads(self, step: int, distances: Mapping[int, Any], heads: Heads) -> None:
        self.heads.append((step, heads))

    def saw_rollouts(self, step: int, rollouts: Any) -> None:
        self.rollouts.append((step, list(rollouts)))


class ByParity:
    """A reward with spread for an untrained model: whether the completion has an odd number of characters."""

    def __call__(self, sample: Any) -> float:
        return float(len(sample.completion) % 2)


def arguments(folder: Path, config: type[GRPOConfig] = GRPOConfig, **changes: Any) -> Any:
    settings = {
        "output_dir": str(folder),
        "max_steps": 3,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "num_generations": 4,
        "max_completion_length": 24,
        "beta": 0.0,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
        "remove_unused_columns": False,
    }
    return config(**{**settings, **changes})


def parity_scorer(group_size: int = 4) -> Scorer:
    return Scorer(Rubric({"parity": ByParity()}, {"parity": 1.0}), TASKS, tiny.build_tokenizer(), group_size=group_size)


def trainer(
    folder: Path,
    credit: CreditSettings | None,
    seen: Seen | None = None,
    model: Any = None,
    rollout_func: Any = None,
    scorer: Scorer | None = None,
    **changes: Any,
) -> GrpoTrainer:
    tokenizer = tiny.build_tokenizer()
    return GrpoTrainer(
        reward=scorer or parity_scorer(changes.get("num_generations", 4)),
        args=arguments(folder, **changes),
        credit=credit,
        observer=seen or Seen(),
        keep_every=1,
        keep_count=8,
        model=model or tiny.build_model(0),
        train_dataset=prompt_dataset(TASKS, None),
        processing_class=tokenizer,
        rollout_func=rollout_func,
    )


def weights_of(trained: GRPOTrainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trained.model.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def rollouts_by_place(prompts: list, trained: Any, holes: bool = False) -> dict[str, list]:
    """Completions that depend on their place among all ranks' rows alone, and on how often they were asked for.

    They differ in length, end or are cut off, and with `holes` a stretch in the middle of each is a tool's.
    """
    tokenizer = trained._tokenizer
    first = trained.accelerator.process_index * len(prompts)
    ids = [tokenizer.apply_chat_template(p, add_generation_prompt=True, return_dict=False) for p in prompts]
    completions = []
    for row in range(first, first + len(prompts)):
        generator = torch.Generator().manual_seed(row + 1000 * trained.state.global_step)
        length = 12 + row % 4 * 4
        completion = torch.randint(10, len(tokenizer) - 10, (length,), generator=generator).tolist()
        completions.append(completion if length == 24 else [*completion, tokenizer.eos_token_id])
    found = {"prompt_ids": ids, "completion_ids": completions, "logprobs": None}
    if holes:
        found["env_mask"] = [[0 if 4 <= i < 8 else 1 for i in range(len(completion))] for completion in completions]
    return found
