"""`rhythm train quickstart`, once, whole: what it writes, and that it learns."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest
import torch
from reference import chromium
from reference.command import overrides, rhythm
from reference.wandb_file import history
from transformers import AutoModelForCausalLM, AutoTokenizer

from rl.recipe import Recipe, dump
from rl.recipe.seeds import task_seed
from rl.telemetry.jsonl import read_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("quickstart") / "run"
    done = rhythm("train", "quickstart", "--run-dir", path, WANDB_MODE="offline")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"report: {path / 'report.html'}" in done.stdout
    assert re.search(r"^grpo \d+/\d+  reward .*tokens/s  .* left$", done.stdout, re.MULTILINE)
    yield path


def grpo_rows(run: Path) -> list[dict]:
    return [row for row in read_rows(run / "metrics.jsonl") if row["stage"] == "grpo"]


def test_the_reward_rises_by_three_tenths(run: Path) -> None:
    rewards = [row["reward/total/mean"] for row in grpo_rows(run)]
    assert mean(rewards[-10:]) - mean(rewards[:10]) >= 0.3


def test_the_policy_stays_healthy(run: Path) -> None:
    rows = grpo_rows(run)
    assert mean(row["policy/entropy/mean"] for row in rows[-10:]) > 0.05
    assert mean(row["rollout/length/mean"] for row in rows[-10:]) > 20
    assert mean(row["reward/format/mean"] for row in rows[-10:]) > -0.1


def test_every_line_says_its_stage_and_step(run: Path) -> None:
    rows = read_rows(run / "metrics.jsonl")
    stages = {stage.name: stage.trainer.steps for stage in Recipe().stages}
    assert [(row["stage"], row["step"]) for row in rows] == [
        (stage, step) for stage, steps in stages.items() for step in range(1, steps + 1)
    ]
    assert all(key.count("/") == 2 for row in rows for key in row if key not in ("stage", "step"))


def test_credit_is_coupled_as_the_paper_has_it(run: Path) -> None:
    for row in grpo_rows(run):
        assert 0.3 < row["credit/anchor/share"] <= 0.4
        assert (
            1.0 < row["credit/weight/mean"] <= 1.0 + 0.5 * (row["credit/anchor/share"] + row["credit/dominated/share"])
        )


def test_wandb_holds_the_same_rows(run: Path) -> None:
    rows, tracked = read_rows(run / "metrics.jsonl"), history(run)
    assert len(rows) == len(tracked)
    for row, sent in zip(rows, tracked, strict=True):
        assert {key: sent[key] for key in row} == row


def test_recipe_and_environment_are_kept(run: Path) -> None:
    assert json.loads((run / "recipe.json").read_text(encoding="utf-8")) == dump(Recipe())
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    assert environment["versions"]["trl"].startswith("1.16.")
    assert environment["seed"] == 0 and environment["hardware"]["cores"] >= 1 and environment["command"]


def test_samples_say_what_every_token_got(run: Path) -> None:
    samples = [row for row in read_rows(run / "samples.jsonl") if row["stage"] == "grpo"]
    last = Recipe().stages[1].trainer.steps
    assert {1, 5, last} <= {row["step"] for row in samples}
    for row in samples:
        lengths = {len(row[key]) for key in ("tokens", "waad", "fai", "weight")}
        assert len(lengths) == 1
        assert "".join(row["tokens"]).startswith(row["completion"])
        assert all(1 <= weight <= 2 for weight in row["weight"])
        assert set(row["reward"]) == {"total", "answer", "format"}
        assert row["reward"]["total"] == pytest.approx(row["reward"]["answer"] + 0.2 * row["reward"]["format"])
        assert len(row["anchor"]) <= 0.4 * len(row["tokens"])


def test_heads_say_who_is_local_and_who_is_global(run: Path) -> None:
    rows = [row for row in read_rows(run / "heads.jsonl") if row["source"] == "selection"]
    credit = Recipe().credit
    steps = sorted({row["step"] for row in rows})
    assert steps == list(range(1, Recipe().stages[1].trainer.steps + 1, credit.reselect_every))
    for step in steps:
        value = {
            (row["score"], row["layer"], head): one
            for row in rows
            if row["step"] == step
            for head, one in enumerate(row["values"])
        }
        local = [
            value["distance", layer, head] for (score, layer, head), on in value.items() if score == "local" and on
        ]
        far = [value["distance", layer, head] for (score, layer, head), on in value.items() if score == "global" and on]
        assert local and far and max(local) <= min(far)


def test_heads_are_followed_from_the_base_to_the_last_step(run: Path) -> None:
    """On the probe set and on rollouts, every 50 steps and at the end of each stage; all of them have moved."""
    rows = read_rows(run / "heads.jsonl")
    (sft, grpo), every = (stage.trainer.steps for stage in Recipe().stages), Recipe().telemetry.heads.every
    due = {("sft", step) for step in (*range(0, sft + 1, every), sft)}
    due |= {("grpo", step) for step in (*range(every, grpo + 1, every), grpo)}
    assert {(row["stage"], row["step"]) for row in rows if row["source"] == "probe"} == due
    credit = [row for row in rows if row["source"] == "rollouts" and row["score"] == "credit"]
    assert {row["step"] for row in credit} == {step for stage, step in due if stage == "grpo"}
    assert all(0 < value < 1 for row in credit for value in row["values"])
    metrics = [row for row in read_rows(run / "metrics.jsonl") if row.get("heads/turnover/share") is not None]
    assert {(row["stage"], row["step"]) for row in metrics} == due - {("sft", 0)}
    assert metrics[-1]["heads/drifted/share"] > 0.5


def test_the_trained_policy_is_an_ordinary_model_folder(run: Path) -> None:
    folder = run / "checkpoints" / "grpo" / "final"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert sum(parameter.numel() for parameter in model.parameters()) <= 3_000_000
    question = "State the final answer to the following arithmetic problem: 4 - 1 + 2 ="
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        out = model.generate(**ids, max_new_tokens=96, do_sample=False)
    text = tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    assert re.fullmatch(r"<think>.*</think><answer>-?\d+</answer>\s*", text, re.DOTALL), text


def test_the_report_is_there_and_can_be_written_again(run: Path) -> None:
    first = (run / "report.html").read_text(encoding="utf-8")
    done = rhythm("report", run)
    assert done.returncode == 0 and str(run / "report.html") in done.stdout
    assert (run / "report.html").read_text(encoding="utf-8") == first
    assert "quickstart" in first


@pytest.mark.browser
@pytest.mark.skipif(not (chromium.REQUIRED or chromium.FOUND), reason="needs chromium and chromedriver")
def test_the_report_loads_in_a_browser_without_a_complaint(run: Path, tmp_path: Path) -> None:
    driver = chromium.start(tmp_path / "profile")
    try:
        chromium.visit(driver, run / "report.html")
        chromium.scroll_through(driver)
        before = chromium.shades(driver)
        chromium.shade_by(driver, "weight")
        assert len(before) > 20 and chromium.shades(driver) != before
        assert chromium.errors(driver) == []
        assert chromium.requests(driver) == {(run / "report.html").as_uri()}
    finally:
        driver.quit()


PPO_STEPS = 70


def ppo(run: Path, policy: Path, name: str, *changes: str) -> list[dict]:
    """Train quickstart-ppo's second stage from a policy through the command, and return its metrics."""
    recipe = run.parent / "ppo.yaml"
    recipe.write_text("base: quickstart-ppo\nname: ppo\nstages: [{name: ppo}]\n", encoding="utf-8")
    path = run.parent / name
    words = overrides(f"model.name={policy}", "telemetry.wandb.mode=disabled", *changes)
    done = rhythm("train", recipe, "--run-dir", path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return read_rows(path / "metrics.jsonl")


@pytest.fixture(scope="module")
def ppo_rows(run: Path) -> list[dict]:
    """PPO from the same warm-up, on the tasks that GRPO had."""
    shorter = (f"data.seed={task_seed(0, 1)}", f"stages.ppo.trainer.steps={PPO_STEPS}")
    return ppo(run, run / "checkpoints" / "sft" / "final", "ppo", *shorter)


def test_ppo_learns_what_grpo_learns_in_as_many_steps(run: Path, ppo_rows: list[dict]) -> None:
    rewards = [row["reward/total/mean"] for row in ppo_rows]
    assert mean(rewards[-10:]) - mean(rewards[:10]) >= 0.3
    beside = grpo_rows(run)[PPO_STEPS - 10 : PPO_STEPS]
    assert mean(rewards[-10:]) >= mean(row["reward/total/mean"] for row in beside) - 0.05
    assert mean(row["rollout/length/mean"] for row in ppo_rows[-10:]) > 20


def test_the_critic_learns_which_sums_are_too_long(run: Path, ppo_rows: list[dict]) -> None:
    """The policy adds three terms, and rarely four or five: what a return will be can be told from the question."""
    policy = run.parent / "ppo" / "checkpoints" / "ppo" / "final"
    rows = ppo(run, policy, "longer", "data.options={min_terms: 3, max_terms: 5}", "stages.ppo.trainer.steps=60")
    assert mean(row["critic/explained_variance/mean"] for row in rows[-20:]) > 0.3
    assert mean(row["critic/explained_variance/mean"] for row in ppo_rows[-20:]) > 0.0


def test_a_policy_trained_with_ppo_is_a_plain_folder(run: Path, ppo_rows: list[dict]) -> None:
    folder = run.parent / "ppo" / "checkpoints" / "ppo" / "final"
    _, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["unexpected_keys"] and not info["missing_keys"]
    assert (folder / "critic" / "critic.safetensors").is_file()
    assert "Critic" in (run.parent / "ppo" / "report.html").read_text(encoding="utf-8")
    assert len(ppo_rows) == PPO_STEPS
