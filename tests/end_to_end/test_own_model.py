"""The large-run path on small files: a model folder, LoRA, bf16, JSONL and Parquet tasks of one's own."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from reference.command import SHORT, overrides, rhythm
from transformers import AutoModelForCausalLM

from rl import tiny
from rl.telemetry.jsonl import read_rows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.build_model(3).save_pretrained(folder)
    tiny.build_tokenizer().save_pretrained(folder)
    return folder


def rows(count: int) -> list[dict]:
    return [
        {
            "q": f"What is {i} + {i + 1}?",
            "gold": f"So it is\n#### {2 * i + 1}",
            "worked": f"<think>{i} + {i + 1}</think>",
        }
        for i in range(count)
    ]


def write_recipe(folder: Path, model: Path, data: str, extra: str = "") -> Path:
    path = folder / "mine.yaml"
    columns = "question: q, answer: gold, answer_after: '####', completion: worked"
    path.write_text(
        f"""
base: quickstart
name: mine
model: {{name: {model}{extra}}}
data: {{kind: {data.rpartition(".")[2]}, path: {data}, system: Think., {columns}}}
stages:
  - {{name: sft, data: null}}
  - {{name: grpo}}
""",
        encoding="utf-8",
    )
    return path


def changes() -> list[str]:
    return overrides(*(change for change in SHORT if "data.size" not in change), "stages.grpo.trainer.steps=2")


def test_lora_in_bf16_on_jsonl(tmp_path: Path, model: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(16)), encoding="utf-8")
    recipe = write_recipe(tmp_path, model, "tasks.jsonl", ", dtype: bfloat16, lora: {rank: 4}")
    done = rhythm("train", recipe, "--run-dir", "run", *changes(), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "run"
    samples = read_rows(run / "samples.jsonl")
    assert samples[0]["prompt"].startswith("Think.\nWhat is") and samples[0]["answer"].isdigit()
    base = AutoModelForCausalLM.from_pretrained(model)
    plain = {name: value.clone() for name, value in base.state_dict().items()}
    adapters = {}
    for stage in ("sft", "grpo"):
        folder = run / "checkpoints" / stage / "final"
        assert (folder / "adapter_config.json").is_file() and not (folder / "model.safetensors").exists()
        adapters[stage] = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), folder)
        frozen = adapters[stage].get_base_model().state_dict()
        assert all(
            torch.equal(frozen[name.replace(".weight", ".base_layer.weight")], plain[name])
            for name in plain
            if name.replace(".weight", ".base_layer.weight") in frozen
        )
    # An untrained model earns nothing, so grpo has no advantages: it must end with the very adapters that sft trained.
    for name, value in adapters["sft"].named_parameters():
        assert torch.equal(value, adapters["grpo"].get_parameter(name))
        assert "lora_B" not in name or value.abs().max() > 0


def test_full_weights_on_parquet(tmp_path: Path, model: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows(16)), tmp_path / "tasks.parquet")
    done = rhythm("train", write_recipe(tmp_path, model, "tasks.parquet"), *changes(), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("mine-")
    final = AutoModelForCausalLM.from_pretrained(run / "checkpoints" / "grpo" / "final")
    start = AutoModelForCausalLM.from_pretrained(model).state_dict()
    assert any(not torch.equal(value, start[name]) for name, value in final.state_dict().items())


def test_a_reference_model_keeps_the_policy_near(tmp_path: Path, model: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(16)), encoding="utf-8")
    recipe = write_recipe(tmp_path, model, "tasks.jsonl")
    words = [*changes(), "--set", "stages.grpo.trainer.beta=0.1", "--set", "credit.kind=uniform"]
    done = rhythm("train", recipe, "--run-dir", "run", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    grpo = [row for row in read_rows(tmp_path / "run" / "metrics.jsonl") if row["stage"] == "grpo"]
    assert grpo[0]["policy/kl/mean"] == pytest.approx(0.0, abs=1e-6) and "credit/weight/mean" not in grpo[0]
    assert not any(row["source"] == "selection" for row in read_rows(tmp_path / "run" / "heads.jsonl"))
    assert read_rows(tmp_path / "run" / "samples.jsonl")[-1]["weight"] is None
