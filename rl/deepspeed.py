"""DeepSpeed's settings as a function of what a run is, so that nobody keeps JSON files of them."""

from typing import Any, Literal

Offload = Literal["none", "optimizer", "all"]
Precision = Literal["float32", "bfloat16", "float16"]


BUCKET = 100_000_000  # elements that are reduced at a time; two buckets of them are held


def zero_settings(
    stage: Literal[1, 2, 3],
    *,
    offload: Offload = "none",
    precision: Precision = "float32",
    micro_batch: int,
    accumulation: int,
    world: int,
    max_grad_norm: float,
) -> dict[str, Any]:
    """Return DeepSpeed's configuration for a ZeRO stage (arXiv 1910.02054); everything is said, nothing is "auto".

    `world` counts the processes, `accumulation` the micro-batches of one process in a step. Gradients are averaged and
    summed in float32. Optimizer and schedule stay the trainer's own: `zero_allow_untested_optimizer`.
    """
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": stage > 1,
        "contiguous_gradients": True,
        "reduce_scatter": True,
        "reduce_bucket_size": BUCKET,
    }
    if offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if stage == 3:
        # A checkpoint holds the whole policy as safetensors too, so that it can be read without DeepSpeed.
        zero |= {"stage3_gather_16bit_weights_on_model_save": True}
        if offload == "all":
            zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    return {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": micro_batch * accumulation * world,
        "gradient_clipping": max_grad_norm,
        "bf16": {"enabled": precision == "bfloat16", "check_grad_overflow": True},
        "fp16": {"enabled": precision == "float16"},
        "communication_data_type": "fp32",
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1 << 62,
        "wall_clock_breakdown": False,
    }
