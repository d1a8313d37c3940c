"""ZeRO's settings, as DeepSpeed itself reads them."""

import pytest

from rl.deepspeed import Offload, zero_settings
from rl.recipe import load
from rl.settings import deepspeed_settings


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("offload", ["none", "optimizer", "all"])
def test_every_stage_is_what_deepspeed_takes(stage: int, offload: Offload) -> None:
    from deepspeed.runtime.config import DeepSpeedConfig

    said = zero_settings(
        stage,  # pyright: ignore
        offload=offload,
        precision="bfloat16",
        micro_batch=4,
        accumulation=2,
        world=1,
        max_grad_norm=0.5,
    )
    read = DeepSpeedConfig(said)
    assert read.zero_optimization_stage == stage and read.bfloat16_config.enabled
    assert (read.train_micro_batch_size_per_gpu, read.gradient_accumulation_steps, read.train_batch_size) == (4, 2, 8)
    assert read.gradient_clipping == 0.5
    assert (read.zero_config.offload_optimizer is not None) == (offload != "none")
    assert (read.zero_config.offload_param is not None) == (offload == "all" and stage == 3)
    assert "auto" not in str(said)


def test_a_recipe_says_how_a_step_is_shared() -> None:
    recipe = load("quickstart", ["cluster.zero=2", "cluster.processes=4"])
    sft, grpo = (deepspeed_settings(recipe, stage, 4) for stage in recipe.stages)
    assert sft is not None and (sft["train_micro_batch_size_per_gpu"], sft["train_batch_size"]) == (8, 32)
    assert grpo is not None and (grpo["train_micro_batch_size_per_gpu"], grpo["train_batch_size"]) == (16, 64)
    assert deepspeed_settings(load("quickstart"), recipe.stages[0], 1) is None
