"""Have the policy that trains go on from prompts: what a frozen judge writes its audits with."""

from typing import Any

import torch
from transformers import GenerationConfig
from trl.models.utils import unwrap_model_for_generation


def write_greedily(
    trainer: Any, tokenizer: Any, end_ids: list[int], prompts: list[list[int]], max_tokens: int, closing: str
) -> list[list[int]]:
    """Return what a trainer's policy writes after each prompt, up to the closing text; all ranks write as many."""
    config = GenerationConfig(
        max_new_tokens=max_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=end_ids,
        stop_strings=[closing],
    )
    gather = trainer.args.ds3_gather_for_generation
    with (
        torch.no_grad(),
        unwrap_model_for_generation(
            trainer.model_wrapped, trainer.accelerator, gather_deepspeed3_params=gather
        ) as model,
    ):
        policy: Any = model
        policy.eval()  # no dropout in what is a judgement
        inputs = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        inputs = inputs.to(trainer.accelerator.device)
        try:
            written = policy.generate(**inputs, generation_config=config, tokenizer=tokenizer)
        finally:
            policy.train()
    return written[:, inputs["input_ids"].shape[1] :].tolist()
