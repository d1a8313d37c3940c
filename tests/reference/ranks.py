"""Train two steps with coupled credit, as one process or as one of several, and write down what came of it.

    [torchrun --nproc-per-node 2] tests/reference/ranks.py FOLDER plain|ddp|zero2|zero3

Rank r writes FOLDER/r.pt: this rank's weights by row, the heads, and from rank 0 the metrics and the policy.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reference.grpo import Seen, rollouts_by_place, trainer

from rl import tiny
from rl.credit import coupled
from rl.trainers.token_credit import CreditSettings


def zero(stage: int) -> dict[str, Any]:
    """Return DeepSpeed's settings for a ZeRO stage on the CPU."""
    return {
        "zero_optimization": {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": False},
    }


def main() -> None:
    folder, how = Path(sys.argv[1]), sys.argv[2]
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(1)
    changes: dict[str, Any] = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2 // world}
    if how.startswith("zero"):
        import deepspeed

        deepspeed.init_distributed("gloo")
        changes["deepspeed"] = zero(int(how[-1]))
    policy = trainer(
        folder / f"run{rank}",
        CreditSettings(rule=coupled, horizon=(3, 20), reselect_every=1, calibration=3),
        Seen(),
        tiny.build_model(0),
        rollout_func=rollouts_by_place,
        use_cpu=True,
        max_steps=4,
        num_iterations=2,
        learning_rate=1e-2,
        optim="adamw_torch",
        **changes,
    )
    policy.train()
    assert policy.credit is not None and policy._buffered_inputs is not None
    rows = torch.cat([batch["row"] for batch in policy._buffered_inputs]) + rank * (8 // world)
    weights = torch.cat([batch["weights"] for batch in policy._buffered_inputs])
    names = ("grad_norm", "credit/weight/mean", "credit/selected/share", "attention/fai/mean", "loss")
    metrics = [{name: row[name] for name in names} for row in policy.state.log_history if "loss" in row]
    state = policy.accelerator.get_state_dict(policy.model_wrapped)  # a collective call under ZeRO-3
    torch.save(
        {"rows": rows, "weights": weights, "heads": policy.credit.heads, "metrics": metrics, "policy": state},
        folder / f"{rank}.pt",
    )


if __name__ == "__main__":
    main()
