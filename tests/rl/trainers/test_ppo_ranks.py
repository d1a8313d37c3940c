"""PPO in several real processes: advantages, critic and checkpoints of two ranks are those of one."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.launched import run
from safetensors.torch import load_file

Alone = dict[str, tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """What one process makes of each kind."""
    folder = tmp_path_factory.mktemp("ppo")
    return {
        kind: (folder / kind, run(folder / kind, "plain", 1, "ranks.py", kind)[0]) for kind in ("ppo", "own", "lora")
    }


@pytest.mark.parametrize(("kind", "how"), [("ppo", "ddp"), ("ppo", "zero2"), ("own", "zero3"), ("lora", "zero3")])
def test_two_ranks_are_one(tmp_path: Path, alone: Alone, kind: str, how: str) -> None:
    """Four steps of eight rollouts: values, whitening over all ranks, group means, KL and its adapted weight."""
    results = run(tmp_path / how, how, 2, "ranks.py", kind)
    folder, one = alone[kind][0], copy.deepcopy(alone[kind][1])
    assert {name for row in one["metrics"] for name in row} >= {"critic/loss/mean", "critic/explained_variance/mean"}
    assert ("policy/kl_weight/last" in one["metrics"][0]) == (kind == "lora")
    for row, expected in zip(results[0]["metrics"], one["metrics"], strict=True):
        share = row.pop("critic/clip/share"), expected.pop("critic/clip/share")
        assert share[0] == pytest.approx(share[1], abs=0.05)  # a few of 150 tokens lie at the range's edge
        assert row == {name: pytest.approx(value, rel=2e-3, abs=2e-4) for name, value in expected.items()}
    for name, value in one["policy"].items():
        torch.testing.assert_close(results[0]["policy"][name].float(), value, atol=2e-3, rtol=1e-2)
    assert any("critic" in name for name in one["policy"])
    check_checkpoint(tmp_path / how / "run" / "checkpoint-3", folder / "run" / "checkpoint-3", kind)


def check_checkpoint(ours: Path, theirs: Path, kind: str) -> None:
    """The policy is plain, and the critic is beside it, as one process saves them."""
    policy = "adapter_model.safetensors" if kind == "lora" else "model.safetensors"
    for file in (policy, "critic/critic.safetensors"):
        left, right = load_file(ours / file), load_file(theirs / file)
        assert left.keys() - {"lm_head.weight"} == right.keys() and right  # ZeRO-3 saves what is tied, too
        assert not any("critic" in name for name in left)
        for name, value in right.items():
            torch.testing.assert_close(left[name].float(), value, atol=2e-3, rtol=1e-2)
