"""The plan's formulas, by hand, and its memory against what runs of a few steps take."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from reference import small
from transformers import Qwen3Config, Qwen3ForCausalLM

from rl import tiny
from rl.recipe import load
from rl.sizing.gpus import GPUS
from rl.sizing.memory import Model, Parts, states
from rl.sizing.pace import Load, forward_flops, phases
from rl.sizing.plan import advise, plan_stage
from rl.sizing.trace import Traced

# 1000 parameters, all trained, weights in float32, passes in bfloat16; a layer of 100.
MODEL = Model(
    parameters=1000,
    trained=1000,
    largest_layer=100,
    head=50,
    hidden=10,
    vocabulary=5,
    layers=2,
    kv=8,
    weight_bytes=4,
    pass_bytes=2,
)


@pytest.mark.parametrize(
    ("zero", "offload", "world", "expected"),
    [
        (0, "none", 1, (4000, 4000, 8000)),
        (0, "none", 4, (4000, 8000, 8000)),  # DDP's buckets are copies
        (1, "none", 4, (2000, 2000 + 4000 + 1000, 3000)),  # 2 T, two buckets of T, and 4 T / 4
        (2, "none", 4, (2000, 500 + 4000 + 1000, 3000)),
        (3, "none", 4, (500 + 400, 500 + 4000 + 1000, 3000)),
        (2, "optimizer", 4, (2000, 500 + 4000, 0)),
        (3, "all", 4, (400, 500 + 4000, 0)),
    ],
)
def test_states_by_hand(zero: int, offload: str, world: int, expected: tuple) -> None:
    assert states(MODEL, zero, offload, world) == expected  # pyright: ignore


def test_a_step_needs_what_is_there_together() -> None:
    parts = Parts(weights=10, gradients=10, optimizer=20, activations=50, logits=5, kv_cache=30, accumulates=True)
    assert parts.peak == 30 + 50 + 5 + 10
    once = Parts(weights=10, gradients=10, optimizer=20, activations=50, logits=5, kv_cache=80, accumulates=False)
    assert once.peak == 30 + 80


def test_time_by_hand() -> None:
    """A forward pass is 2 P tokens and 2 L h tokens^2; training three times that, and four where it is done again."""
    flops = 3 * (2 * 1000 * 7 + 2 * 2 * 10 * 49)
    assert forward_flops(MODEL, 3, 7) == flops
    gpu = GPUS["h100"]
    found = phases(MODEL, Load(3, 5, 2, rollouts=6, share=0.5, readings=1), gpu, 0, 1, 1)
    assert found["training"] == pytest.approx(3 * flops / (989e12 * 0.4))
    assert found["readings"] == pytest.approx(flops / (989e12 * 0.4))
    again = phases(MODEL, Load(3, 5, 2, recomputes=True), gpu, 0, 1, 1)
    assert found["communication"] == 0 and found["optimizer"] == pytest.approx(28 * 1000 / (3350e9 * 0.6))
    ddp, third = (phases(MODEL, Load(4, 5, 2, at_once=2), gpu, zero, 4, 1)["communication"] for zero in (0, 3))
    assert ddp == pytest.approx(2 * 0.75 * 1000 * 4 / 450e9)
    assert third == pytest.approx(0.75 * (2 * 4000 + 2 * 1000 * 4) / 450e9)  # two micro-batches
    assert again["training"] == pytest.approx(4 * flops / (989e12 * 0.4)) and "generation" not in again


def test_more_is_shared_at_every_stage() -> None:
    recipe = load("quickstart", ["model.gradient_checkpointing=true"])
    plan = plan_stage(recipe, recipe.stages[1], Traced(recipe), GPUS["h200"], 2, 8, 64)
    held = [option.parts.weights + option.parts.gradients + option.parts.optimizer for option in plan.options[1:4]]
    assert held == sorted(held, reverse=True) and advise([plan]) == 0
    assert (plan.micro_batch, plan.accumulation) == (4, 1)
    whole = Traced(load("quickstart"))
    assert whole.activations(4, 128) > 3 * Traced(recipe).activations(4, 128)
    assert whole.numbers().parameters == sum(p.numel() for p in tiny.build_model(0).parameters())
    adapted = Traced(load("quickstart", ["model.lora={rank: 4}"])).numbers()
    assert (
        0 < adapted.trained < adapted.parameters / 5
        and adapted.parameters == whole.numbers().parameters + adapted.trained
    )


COMPLETION = "1 + 2 = 3 " * 24 + "<answer>11</answer>"
MEASURED = {
    "sft": ("kind: sft, batch: 16, micro_batch: 8, max_length: {tokens}", ()),
    "sft of adapters, computed again": (
        "kind: sft, batch: 16, micro_batch: 16, max_length: {tokens}",
        ("model.gradient_checkpointing=true", "model.lora={rank: 8}"),
    ),
    "grpo": ("kind: grpo, prompts_per_step: 2, num_generations: 8, micro_batch: 8, max_completion_length: 80", ()),
    "grpo, most of it cache": (
        "kind: grpo, prompts_per_step: 4, num_generations: 16, micro_batch: 1, max_completion_length: 64, beta: 0.1",
        (),
    ),
}


@pytest.mark.parametrize("case", MEASURED)
def test_memory_is_that_of_a_run(tmp_path: Path, case: str) -> None:
    """Within 20 %, of tensors on a CPU, or a GPU where there is one."""
    tokenizer = tiny.build_tokenizer()
    config = Qwen3Config(
        vocab_size=2048,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=2047,  # is hardly ever sampled, so that completions are as long as they may be
    )
    Qwen3ForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    row = {"question": "10 + 1 = ?", "answer": "11", "completion": COMPLETION}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 32, encoding="utf-8")
    message = [{"role": "user", "content": row["question"]}]
    prompt = len(tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=True)["input_ids"])  # pyright: ignore
    tokens = prompt + len(tokenizer(COMPLETION)["input_ids"]) + 2  # pyright: ignore
    trainer, changes = MEASURED[case]
    (tmp_path / "recipe.yaml").write_text(
        f"name: measured\nmodel: {{name: {tmp_path}/model}}\ncredit: {{kind: uniform}}\n"
        f"data: {{kind: jsonl, path: {tmp_path}/rows.jsonl, completion: completion}}\n"
        "telemetry: {wandb: {mode: disabled}}\n"
        f"stages: [{{name: only, trainer: {{steps: 2, learning_rate: 1e-5, {trainer.format(tokens=tokens)}}}}}]\n",
        encoding="utf-8",
    )
    command = [sys.executable, "tests/reference/measured.py", tmp_path / "recipe.yaml", tmp_path / "run", str(prompt)]
    done = subprocess.run(
        [*command, *changes], cwd=small.TESTS.parent, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(case, round(found["planned"] / found["measured"], 3), found)
    assert found["planned"] == pytest.approx(found["measured"], rel=0.2), found
