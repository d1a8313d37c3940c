"""Packed rows are rows: the same gradient as side by side, on every attention that packing is offered for."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rl import tiny
from rl.data import Task
from rl.rollouts import completion_dataset
from rl.trainers import Care
from rl.trainers.fit import Schedule, fit_sft, sft_config
from rl.trainers.guard import Guard

TASKS = [
    Task(f"here:{n}", f"What is {n} + 4 ?", str(n + 4), f"<think>{'Hm. ' * n}{n} + 4 = {n + 4}.</think>")
    for n in range(6)
]


def step(folder: Path, *, packing: bool, batch: int, max_length: int, attention: str = "sdpa") -> dict:
    """Return the weights behind one step of plain gradient descent on all tasks."""
    model, tokenizer = tiny.build_model(0), tiny.build_tokenizer()
    model.set_attn_implementation(attention)
    schedule = Schedule(folder, 0, 1, 0.1, "constant", 0, 1e9, batch, 1, 1, trl={"optim": "sgd", "weight_decay": 0.0})
    config = sft_config(schedule, max_length=max_length, shuffled=True, packing=packing)
    dataset = completion_dataset(TASKS, None, tokenizer)
    care = Care(2, Guard())
    fit_sft(config, model=model, tokenizer=tokenizer, dataset=dataset, care=care, callbacks=[], resume_from=None)
    return load_file(folder / "checkpoint-1" / "model.safetensors")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_one_pack_of_all_rows_is_all_rows_side_by_side(tmp_path: Path, attention: str) -> None:
    packed = step(tmp_path / "packed", packing=True, batch=1, max_length=400, attention=attention)
    padded = step(tmp_path / "padded", packing=False, batch=len(TASKS), max_length=400)
    start = tiny.build_model(0).state_dict()
    assert any((padded[name] - start[name]).abs().max() > 1e-3 for name in padded)
    for name in padded:
        torch.testing.assert_close(packed[name], padded[name], atol=2e-6, rtol=1e-4)


def test_several_packs_share_the_rows_out(tmp_path: Path) -> None:
    packed = step(tmp_path / "packed", packing=True, batch=3, max_length=90)
    padded = step(tmp_path / "padded", packing=False, batch=len(TASKS), max_length=400)
    lengths = [len(tiny.build_tokenizer()(task.completion or "")["input_ids"]) for task in TASKS]
    assert sum(lengths) > 90  # one pack does not hold them
    for name in padded:
        torch.testing.assert_close(packed[name], padded[name], atol=2e-6, rtol=1e-4)
