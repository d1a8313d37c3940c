"""TRL's names in ours, and numbers that JSON cannot hold."""

import math

from rl.trainers import rename


def test_names_and_values() -> None:
    logs = {
        "reward": 0.5,
        "kl": math.nan,
        "grad_norm": math.inf,
        "train_loss": 1.0,
        "tools/calls": 2,
        "credit/weight/mean": 1.2,
    }
    assert rename(logs) == {
        "reward/total/mean": 0.5,
        "policy/kl/mean": None,
        "optimizer/grad_norm/last": None,
        "trl/tools/calls": 2,
        "credit/weight/mean": 1.2,
    }
