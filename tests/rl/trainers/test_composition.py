"""Credit beside everything else that GRPO does: losses, tools, cut-off completions, adapters, splits of a batch."""

import functools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from reference.grpo import CREDIT, Seen, rollouts_by_place, same, trainer, weights_of
from transformers import TrainerCallback

from rl import credit, tiny
from rl.attention import measure
from rl.credit import Signals
from rl.tokens import delimiters
from rl.trainers.token_credit import CreditSettings

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # TRL calls rollout_func experimental; it is a way to the same rollouts

KINDS = {
    "uniform_gain": CreditSettings(rule=credit.uniform_gain, reads=frozenset()),
    "preplan": replace(CREDIT, rule=credit.preplan),
    "anchor": replace(CREDIT, rule=credit.anchor),
    "coupled": CREDIT,
    "random": CreditSettings(rule=credit.random, reads=frozenset({"noise"})),
    "shuffled": replace(CREDIT, rule=credit.shuffled, reads=frozenset({"attention", "noise"})),
    "entropy": CreditSettings(rule=credit.entropy, reads=frozenset({"entropy"})),
}
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")
holed = functools.partial(rollouts_by_place, holes=True)


class Gradients(TrainerCallback):
    """Keep every parameter's gradient as it is before the first optimizer step."""

    def __init__(self) -> None:
        self.seen: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if not self.seen:
            found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
            self.seen = {name: grad.detach().clone() for name, grad in found.items()}


def gradients(folder: Path, settings: CreditSettings | None, **changes: Any) -> dict[str, torch.Tensor]:
    """The gradient of one step over the eight rollouts_by_place."""
    kept = Gradients()
    policy = trainer(folder, settings, rollout_func=rollouts_by_place, max_steps=1, max_grad_norm=0.0, **changes)
    policy.add_callback(kept)
    policy.train()
    return kept.seen


def kept_weights(
    folder: Path, settings: CreditSettings, rollout_func: Callable = rollouts_by_place, **changes: Any
) -> list[list[float]]:
    """The weights that the eight rollouts of one step were trained with."""
    seen = Seen()
    steps = changes.pop("max_steps", 1)
    policy = trainer(folder, settings, seen, rollout_func=rollout_func, max_steps=steps, **changes)
    policy.train()
    rows = [kept for step, rollouts in seen.rollouts for kept in rollouts if step <= steps]
    rows.sort(key=lambda kept: kept.rollout.token_ids)
    weights = [list(kept.weights) for kept in rows]
    assert len(weights) == 8 and all(policy.state.log_history)
    return weights


def assert_scaled(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], factor: float) -> None:
    largest = max(float(value.abs().max()) for value in right.values())
    assert largest > 0
    for name, value in right.items():
        torch.testing.assert_close(left[name], value * factor, atol=2e-5 * largest, rtol=1e-4)


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_gain_scales_every_loss(tmp_path: Path, loss: str, level: str) -> None:
    """(B, T) advantages reach every loss TRL has: a gain of 3 everywhere is 3 times the gradient."""
    changes = {"loss_type": loss, "importance_sampling_level": level}
    settings = replace(KINDS["uniform_gain"], rule=functools.partial(credit.uniform_gain, gain=3.0))
    weighted, plain = (gradients(tmp_path / name, s, **changes) for name, s in {"a": settings, "b": None}.items())
    assert_scaled(weighted, plain, 3.0)


def test_every_loss_weighs_tokens_alike(tmp_path: Path) -> None:
    """On policy the ratio is 1: all losses have the gradient of weight x advantage x log-prob, up to what divides it.

    One micro-batch of B = 8 rollouts with n tokens: n (dapo, bnpo, cispo, vespo), B x 24 (dr_grpo), B (luspo).
    """
    found = {loss: gradients(tmp_path / loss, CREDIT, loss_type=loss, epsilon_high=5.0) for loss in LOSSES}
    tokens = sum(12 + row % 4 * 4 + (row % 4 < 3) for row in range(8))
    for loss, divisor in {"bnpo": tokens, "cispo": tokens, "vespo": tokens, "dr_grpo": 8 * 24, "luspo": 8}.items():
        assert_scaled(found[loss], found["dapo"], tokens / divisor)
    assert_scaled(found["sapo"], found["grpo"], 1.0)
    uniform = gradients(tmp_path / "uniform", None)
    assert any((found["dapo"][name] - value).abs().max() > 1e-3 * value.abs().max() for name, value in uniform.items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_the_rule(tmp_path: Path, kind: str) -> None:
    """Whether they ride on the training forward, in one micro-batch or four, or on the old log-probs' pass."""
    settings = KINDS[kind]
    whole = kept_weights(tmp_path / "whole", settings)
    split = kept_weights(tmp_path / "split", settings, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    early = kept_weights(tmp_path / "early", settings, num_iterations=2)
    for row in range(8):
        assert split[row] == pytest.approx(whole[row], abs=1e-6)
        assert early[row] == pytest.approx(whole[row], abs=1e-6)
    assert len({weight for weights in whole for weight in weights}) > (0 if kind == "uniform_gain" else 1)


@pytest.mark.parametrize("rollout_func", [rollouts_by_place, holed], ids=["plain", "tools"])
@pytest.mark.parametrize("options", [{}, {"exclude_sinks": True}], ids=["all", "no_sinks"])
def test_fused_is_separate(tmp_path: Path, rollout_func: Callable, options: dict[str, Any]) -> None:
    """A pass of its own gives the same weights, and the same training."""
    fused = kept_weights(tmp_path / "fused", replace(CREDIT, **options), rollout_func, max_steps=1)
    separate = kept_weights(tmp_path / "separate", replace(CREDIT, separate=True, **options), rollout_func, max_steps=1)
    assert separate == [pytest.approx(weights, abs=1e-6) for weights in fused]


def test_fused_trains_what_separate_trains(tmp_path: Path) -> None:
    trained = []
    for name, settings in {"fused": CREDIT, "separate": replace(CREDIT, separate=True)}.items():
        policy = trainer(tmp_path / name, settings, rollout_func=rollouts_by_place)
        policy.train()
        trained.append(weights_of(policy))
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, atol=1e-5, rtol=1e-4)
    assert not same(trained[0], dict(tiny.build_model(0).state_dict()))


@pytest.mark.parametrize("changes", [{}, {"num_iterations": 2}], ids=["training", "old"])
def test_what_a_tool_answered_gets_no_credit(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Tokens 4..7 of each completion are a tool's: no weight, never selected, no row that FAI is a mean over."""
    seen = Seen()
    policy = trainer(tmp_path, CREDIT, seen, rollout_func=holed, max_steps=1, **changes)
    before = tiny.build_model(0)
    policy.train()
    tokenizer, heads = tiny.build_tokenizer(), seen.heads[0][1]
    for kept in seen.rollouts[0][1]:
        messages = [{"role": "user", "content": kept.rollout.prompt}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        ids = torch.tensor([[*prompt, *kept.rollout.token_ids]])
        response = torch.zeros_like(ids)
        response[:, len(prompt) :] = 1
        response[:, len(prompt) + 4 : len(prompt) + 8] = 0
        rhythm = measure(before, ids, torch.ones_like(ids), response, heads=heads, horizon=(3, 20))
        expected = credit.coupled(Signals(response.bool(), rhythm, horizon=(3, 20))).weights[0, len(prompt) :]
        assert kept.weights == pytest.approx(expected.tolist(), abs=1e-6)
        assert kept.weights[4:8] == [0, 0, 0, 0] and not any(kept.anchors[4:8])


def test_cut_off_completions_can_be_masked(tmp_path: Path) -> None:
    """Their rows have no response left: no weight, no nan, and the rest trains as it would."""
    seen = Seen()
    policy = trainer(
        tmp_path, CREDIT, seen, rollout_func=rollouts_by_place, max_steps=2, mask_truncated_completions=True
    )
    policy.train()
    for _, rows in seen.rollouts:
        for kept in rows:
            cut = kept.rollout.sample.truncated
            assert (sum(kept.weights) == 0) == cut
            assert {len(getattr(kept, key)) for key in ("weights", "waad", "fai", "anchors")} == {
                len(kept.rollout.token_ids)
            }
        assert {kept.rollout.sample.truncated for kept in rows} == {True, False}
    assert all(value.isfinite().all() for value in weights_of(policy).values())
    assert not same(weights_of(policy), dict(tiny.build_model(0).state_dict()))


@pytest.mark.parametrize("separate", [False, True], ids=["fused", "separate"])
@pytest.mark.parametrize("iterations", [1, 2])
def test_adapters_and_checkpointing_change_nothing(tmp_path: Path, iterations: int, separate: bool) -> None:
    """Fresh adapters are the base model, and recomputing activations reads nothing twice: the weights are the same."""
    settings, changes = replace(CREDIT, separate=separate), {"num_iterations": iterations}
    plain = kept_weights(tmp_path / "plain", settings, **changes)
    lora = get_peft_model(tiny.build_model(0), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    adapted = kept_weights(tmp_path / "lora", settings, model=lora, beta=0.02, **changes)
    recomputed = kept_weights(tmp_path / "again", settings, gradient_checkpointing=True, **changes)
    for row in range(8):
        assert adapted[row] == pytest.approx(plain[row], abs=1e-6)
        assert recomputed[row] == pytest.approx(plain[row], abs=1e-6)


def test_delimiters_are_left_out_and_counted(tmp_path: Path) -> None:
    settings = replace(CREDIT, exclude_delimiters=True)
    for name, chosen in {"all": CREDIT, "words": settings}.items():
        policy = trainer(tmp_path / name, chosen, rollout_func=rollouts_by_place, max_steps=1)
        policy.train()
        row = policy.state.log_history[0]
        assert (row["credit/delimiter_selected/share"] == 0) == (name == "words")
        assert (row["credit/delimiter_weight/mean"] == 1) == (name == "words")
        assert row["credit/selected/share"] > 0.2


def test_weights_follow_the_sign_of_the_advantage(tmp_path: Path) -> None:
    seen = Seen()
    trainer(tmp_path, replace(CREDIT, sign="positive"), seen, rollout_func=rollouts_by_place, max_steps=1).train()
    rows = seen.rollouts[0][1]
    weighted = [set(kept.weights) != {1.0} for kept in rows]
    assert weighted == [kept.advantage >= 0 for kept in rows] and len(set(weighted)) == 2


def test_delimiters_by_hand() -> None:
    tokenizer = tiny.build_tokenizer()
    marks = delimiters(tokenizer)
    texts = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    kinds = {text: bool(mark) for text, mark in zip(texts, marks, strict=True)}
    assert kinds["."] and kinds[" "] and kinds[tokenizer.eos_token]
    assert not (kinds["+"] or kinds["-"] or kinds["="] or kinds["7"] or kinds["a"])


def test_padding_to_a_multiple_changes_nothing(tmp_path: Path) -> None:
    plain = kept_weights(tmp_path / "plain", CREDIT, holed, num_iterations=2)
    padded = kept_weights(tmp_path / "padded", CREDIT, holed, num_iterations=2, pad_to_multiple_of=64)
    assert padded == [pytest.approx(weights, abs=1e-6) for weights in plain]


@pytest.mark.parametrize("kind", ["uniform_gain", "random"])
def test_what_reads_nothing_makes_no_pass(tmp_path: Path, kind: str) -> None:
    passes: list[int] = []
    model = tiny.build_model(0)
    model.model.layers[0].register_forward_hook(lambda *_: passes.append(1))
    trainer(tmp_path, KINDS[kind], model=model, rollout_func=rollouts_by_place, max_steps=2).train()
    assert len(passes) == 2  # one training forward a step
