"""TRL's metric names in ours: pipeline stage / what / statistic."""

import math
from collections.abc import Mapping

NAMES: dict[str, str | None] = {
    "loss": "optimizer/loss/mean",
    "grad_norm": "optimizer/grad_norm/last",
    "learning_rate": "optimizer/learning_rate/last",
    "epoch": "data/epoch/last",
    "num_tokens": "data/tokens/total",
    "reward": "reward/total/mean",
    "reward_std": "reward/total/std",
    "rewards/total/mean": None,  # the rubric is TRL's one reward function: these repeat the two above
    "rewards/total/std": None,
    "frac_reward_zero_std": "reward/zero_spread/share",
    "completions/mean_length": "rollout/length/mean",
    "completions/min_length": "rollout/length/min",
    "completions/max_length": "rollout/length/max",
    "completions/clipped_ratio": "rollout/truncated/share",
    "completions/mean_terminated_length": "rollout/terminated_length/mean",
    "completions/min_terminated_length": "rollout/terminated_length/min",
    "completions/max_terminated_length": "rollout/terminated_length/max",
    "entropy": "policy/entropy/mean",
    "mean_token_accuracy": "policy/token_accuracy/mean",
    "kl": "policy/kl/mean",
    "clip_ratio/region_mean": "policy/clip/share",
    "clip_ratio/low_mean": "policy/clip_low/share",
    "clip_ratio/high_mean": "policy/clip_high/share",
    "clip_ratio/low_min": None,  # over groups, and 0 wherever any group is unclipped
    "clip_ratio/high_max": None,
    "step_time": None,  # rhythm times every trainer's steps alike,
    "train_runtime": None,  # the closing line of transformers' trainer repeats what every step said
    "train_samples_per_second": None,
    "train_steps_per_second": None,
    "train_loss": None,
    "total_flos": None,
}


def rename(logs: Mapping[str, object]) -> dict[str, float | None]:
    """Return logs under our names; unknown ones go under `trl/`, and what is no finite number becomes None."""
    renamed: dict[str, float | None] = {}
    for key, value in logs.items():
        name = NAMES.get(key, key if key.count("/") == 2 else f"trl/{key}")
        if name is not None and isinstance(value, int | float | None):
            renamed[name] = value if value is not None and math.isfinite(value) else None
    return renamed
