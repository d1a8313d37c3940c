"""Train four steps with coupled credit, as one process or as one of several, and write down what came of it.

    [torchrun --nproc-per-node 2] tests/reference/ranks.py FOLDER plain|ddp|zero2|zero3 [grpo|ppo|own|lora]

`own` is PPO with a critic of its own, `lora` PPO on adapters, with gradient checkpointing.

Rank r writes FOLDER/r.pt: this rank's weights by row, the heads, and from rank 0 the metrics and the policy.
"""

import functools
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reference import grpo, ppo

from rewards import Rubric
from rl import models, tiny
from rl.credit import coupled
from rl.processes.group import join
from rl.processes.place import find_place
from rl.scoring import Scorer
from rl.trainers.ppo import PpoSettings
from rl.trainers.token_credit import CreditSettings

PPO = PpoSettings(
    baseline="group",
    truncated="bootstrap",
    gae_lambda=0.9,
    critic_learning_rate=3e-3,
    critic_warmup_steps=1,
    kl_target=0.1,
)


class PartlyNone(grpo.ByParity):
    """A reward that cannot judge some completions, which are not equally many on every rank."""

    def __call__(self, sample: Any) -> float | None:
        return None if len(sample.completion) % 5 == 0 else super().__call__(sample)


def zero(stage: int) -> dict[str, Any]:
    """Return DeepSpeed's settings for a ZeRO stage on the CPU."""
    return {
        "zero_optimization": {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": False},
    }


def build(kind: str, folder: Path, rank: int, changes: dict[str, Any]) -> Any:
    """Return the trainer of a kind, on rollouts that are the same whatever the ranks."""
    common: dict[str, Any] = {
        "credit": CreditSettings(rule=coupled, horizon=(3, 20), reselect_every=1, calibration=3),
        "model": tiny.build_model(0),
        "rollout_func": grpo.rollouts_by_place,
        "use_cpu": True,
        "max_steps": 4,
        "num_iterations": 2,
        "learning_rate": 1e-2,
        "optim": "adamw_torch",
        **changes,
    }
    if kind == "grpo":
        return grpo.trainer(folder / f"run{rank}", **common)
    if kind == "own":
        common["critic"] = models.own_critic(tiny.build_model(1))
    if kind == "lora":
        torch.manual_seed(0)  # adapters start at random
        common["model"] = models.add_lora(common["model"], rank=4, alpha=8, dropout=0.0, targets="all-linear")
        common |= {"beta": 0.1, "gradient_checkpointing": True}
    rubric = Rubric({"partly": PartlyNone()}, {"partly": 1.0})
    common["scorer"] = Scorer(rubric, grpo.TASKS, tiny.build_tokenizer(), group_size=4)
    common["rollout_func"] = functools.partial(grpo.rollouts_by_place, holes=True)
    return ppo.trainer(folder / "run", PPO, save_strategy="steps", save_steps=3, **common)


def main() -> None:
    folder, how, kind = Path(sys.argv[1]), sys.argv[2], (*sys.argv, "grpo")[3]
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(1)
    changes: dict[str, Any] = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2 // world}
    if how.startswith("zero"):
        join(find_place(), hours=0.1, deepspeed=True)
        changes["deepspeed"] = zero(int(how[-1]))
    policy = build(kind, folder, rank, changes)
    policy.train()
    assert policy.credit is not None and policy._buffered_inputs is not None
    places = torch.cat([batch["row"] for batch in policy._buffered_inputs]) + rank * (8 // world)
    weights = torch.cat([batch["weights"] for batch in policy._buffered_inputs])
    names = {"grad_norm", "credit/weight/mean", "credit/selected/share", "attention/fai/mean", "loss"}
    rows = [row for row in policy.state.log_history if "loss" in row]
    metrics = [
        {name: row[name] for name in row if name in names or name.startswith(("critic/", "policy/"))} for row in rows
    ]
    state = policy.accelerator.get_state_dict(policy.model_wrapped)  # a collective call under ZeRO-3
    torch.save(
        {"rows": places, "weights": weights, "heads": policy.credit.heads, "metrics": metrics, "policy": state},
        folder / f"{rank}.pt",
    )


if __name__ == "__main__":
    main()
