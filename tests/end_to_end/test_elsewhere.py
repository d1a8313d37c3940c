"""What a run exports is ordinary: plain transformers, plain PEFT and lm-eval take it, where rl is never imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from reference.command import FEW_ROWS, overrides, rhythm

from rl.evaluation.suite import build_suite
from rl.recipe.suites import load_suite
from rl.telemetry.jsonl import read_rows

SMALL = Path(__file__).resolve().parents[1] / "reference" / "tiny.yaml"
SHORT = (
    "stages=[{name: sft}]",
    "stages.sft.trainer.steps=150",
    "stages.sft.data.size=4800",
    "telemetry.wandb.mode=disabled",
    "telemetry.heads.every=0",
)
LIMIT, LONGEST = 32, 64
PLAIN = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, question = sys.argv[1:3]
tokenizer = AutoTokenizer.from_pretrained(folder)
{model}
asked = tokenizer.apply_chat_template(
    [{{"role": "user", "content": question}}], add_generation_prompt=True, return_tensors="pt", return_dict=True
)
told = model.eval().generate(**asked, max_new_tokens=24, do_sample=False)[0, asked["input_ids"].shape[1]:].tolist()
ends = [place for place, token in enumerate(told) if token == tokenizer.eos_token_id]
assert not any(name.split(".")[0] in ("rl", "rewards") for name in sys.modules)
print(json.dumps(tokenizer.decode(told[: ends[0]] if ends else told)))
"""
WHOLE = "model = AutoModelForCausalLM.from_pretrained(folder)"
AUTO = "from peft import AutoPeftModelForCausalLM; model = AutoPeftModelForCausalLM.from_pretrained(folder)"
OVER_BASE = (
    "from peft import PeftModel; model = PeftModel.from_pretrained("
    "AutoModelForCausalLM.from_pretrained(sys.argv[3]), folder)"
)
TASK = """\
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["<|im_end|>"], do_sample: false, max_gen_toks: {longest}}}
filter_list:
  - name: answer
    filter:
      - {{function: regex, regex_pattern: "<answer>(-?[0-9]+)</answer>"}}
      - {{function: take_first}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("elsewhere") / "run"
    done = rhythm("train", "quickstart", "--run-dir", path, *overrides(*SHORT))
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def plainly(script: str, *words: Path | str) -> str:
    """Return what a fresh process, in which nothing of ours can be found, says."""
    command = [sys.executable, "-I", "-c", PLAIN.format(model=script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def told(run: Path, question: str) -> str:
    """Return what the run's policy says, greedily."""
    done = rhythm("generate", run, question, "--max-tokens", "24", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["completion"]


def test_plain_transformers_load_the_final_policy(run: Path) -> None:
    final = run / "checkpoints" / "sft" / "final"
    for question in ("1 + 2 =", "State the final answer to the following arithmetic problem: 3 - 4 + 5 ="):
        assert plainly(WHOLE, final, question) == told(run, question)


def test_plain_peft_loads_the_final_adapters(tmp_path: Path) -> None:
    """Adapters of a rate so high that the base alone says something else."""
    path, question = tmp_path / "run", "1 + 2 ="
    changes = ("model.lora={rank: 4}", "stages=[{name: sft}]", "stages.sft.trainer.learning_rate=0.05", FEW_ROWS)
    done = rhythm("train", "quickstart", "--with", SMALL, "--run-dir", path, *overrides(*changes))
    assert done.returncode == 0, done.stdout + done.stderr
    final = path / "checkpoints" / "sft" / "final"
    assert (final / "adapter_config.json").is_file() and not (final / "model.safetensors").exists()
    expected = told(path, question)
    assert plainly(AUTO, final, question) == expected
    assert plainly(OVER_BASE, final, question, path / "checkpoints" / "base") == expected
    assert plainly(WHOLE, path / "checkpoints" / "base", question) != expected


def test_lm_eval_gives_the_score_that_eval_gives(run: Path, tmp_path: Path) -> None:
    """The prompts are alike, and so are all answers to the letter, and the score."""
    final = run / "checkpoints" / "sft" / "final"
    tasks = build_suite(load_suite("quickstart", [f"data.limit={LIMIT}"])).tasks
    rows = tmp_path / "sums.jsonl"
    lines = [json.dumps({"question": task.question, "answer": task.answer}) + "\n" for task in tasks]
    rows.write_text("".join(lines), encoding="utf-8")
    (tmp_path / "sums.yaml").write_text(TASK.format(rows=rows, longest=LONGEST), encoding="utf-8")
    model = ["--model", "hf", "--model_args", f"pretrained={final},dtype=float32", "--apply_chat_template"]
    out = ["--include_path", tmp_path, "--output_path", tmp_path / "theirs", "--log_samples"]
    command = [sys.executable, "-m", "lm_eval", *model, "--tasks", "sums", "--device", "cpu", "--batch_size", "8", *out]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=900, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    [scores] = (tmp_path / "theirs").rglob("results_*.json")
    [samples] = (tmp_path / "theirs").rglob("samples_*.jsonl")
    score = json.loads(scores.read_text(encoding="utf-8"))["results"]["sums"]["exact_match,answer"]
    theirs = {row["doc_id"]: row["resps"][0][0] for row in read_rows(samples)}
    words = ("--suite", "gsm8k", *overrides("data.kind=jsonl", f"data.path={rows}", "data.answer_after=null"))
    plain = ("--system", "", "--max-tokens", str(LONGEST), "--batch", "8", "--out", tmp_path / "ours")
    done = rhythm("eval", final, *words, *plain)
    assert done.returncode == 0, done.stderr
    ours = {row["task"]: row["completion"] for row in read_rows(tmp_path / "ours" / "generations.jsonl")}
    found = json.loads((tmp_path / "ours" / "results.json").read_text(encoding="utf-8"))["results"]
    assert ours == theirs and len(ours) == LIMIT
    assert found["accuracy"]["mean"] == pytest.approx(score) and score > 0
