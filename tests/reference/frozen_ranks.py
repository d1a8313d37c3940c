"""Train four steps with a frozen judge, as one process or as one of several, and write down what the judge wrote.

    [torchrun --nproc-per-node 2] tests/reference/frozen_ranks.py FOLDER plain|ddp|zero2|zero3

Rank r writes FOLDER/r.pt: what the copy of the first policy wrote in every step, the averages, lambda, and the policy.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reference.grpo import TASKS, ByParity, rollouts_by_place, trainer
from reference.ranks import zero

from rewards import Rubric, Sample
from rl import tiny
from rl.effort import AverageLengths, Dial
from rl.judge import FrozenJudge
from rl.multiplier import Multiplier
from rl.processes.group import join
from rl.processes.place import find_place
from rl.scoring import Scorer


class ByLength:
    """A constraint with spread for an untrained model."""

    role = "constraint"

    def __call__(self, sample: Sample) -> float:
        return -float(len(sample.completion) % 3 == 0)


def main() -> None:
    folder, how = Path(sys.argv[1]), sys.argv[2]
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(1)
    changes: dict[str, Any] = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2 // world}
    if how.startswith("zero"):
        join(find_place(), hours=0.1, deepspeed=True)
        changes["deepspeed"] = zero(int(how[-1]))
    tokenizer = tiny.build_tokenizer()
    scorer = Scorer(
        Rubric({"parity": ByParity(), "length": ByLength()}, {"parity": 1.0, "length": 1.0}, "lagrangian"),
        TASKS,
        tokenizer,
        group_size=4,
        dial=Dial(kind="relative", low=0.2, high=1.5, wording=" {effort}"),
        averages=AverageLengths(correct_only=False),
        judge=FrozenJudge(tokenizer, opens_reasoning=False, refresh_every=3, max_tokens=6, batch=3),
        multiplier=Multiplier(1.0, 0.1),
    )
    policy = trainer(
        folder / f"run{rank}",
        None,
        model=tiny.build_model(0),
        rollout_func=rollouts_by_place,
        scorer=scorer,
        use_cpu=True,
        max_steps=4,
        learning_rate=1e-2,
        optim="adamw_torch",
        **changes,
    )
    assert isinstance(scorer.judge, FrozenJudge) and scorer.judge._generate is not None
    generate, written = scorer.judge._generate, []

    def recorded(*arguments: Any) -> list[list[int]]:
        found = generate(*arguments)
        written.extend(tokenizer.batch_decode(found, skip_special_tokens=True))
        return found

    scorer.judge._generate = recorded
    policy.train()
    state = policy.accelerator.get_state_dict(policy.model_wrapped)  # a collective call under ZeRO-3
    torch.save({"written": written, "scorer": scorer.state(), "policy": state}, folder / f"{rank}.pt")


if __name__ == "__main__":
    main()
