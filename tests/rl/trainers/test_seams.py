"""The private points of TRL that rhythm stands on: where one fails, look at rl/trainers/grpo.py and resumable.py."""

import functools
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from reference.grpo import CREDIT, TASKS, Seen, arguments, parity_scorer, same, trainer, weights_of
from transformers import TrainerCallback
from trl import GRPOTrainer

from rewards import Rubric
from rewards.answer import Answer
from rewards.format import Format
from rl import tiny
from rl.attention import Heads, measure
from rl.credit import Signals, coupled
from rl.data import Task
from rl.rollouts import prompt_dataset
from rl.scoring import Scorer
from rl.trainers.token_credit import CreditSettings


def test_version() -> None:
    assert trl.__version__.startswith("1.16.")


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_generate_and_score_completions", ["self", "inputs"]),
        ("_generate", ["self", "prompts"]),
        ("_compute_loss", ["self", "model", "inputs"]),
        ("_get_train_sampler", ["self", "dataset"]),
        ("_save_checkpoint", ["self", "model", "trial"]),
        ("_save", ["self", "output_dir", "state_dict"]),
        ("_load_from_checkpoint", ["self", "resume_from_checkpoint", "model"]),
        ("create_optimizer", ["self", "model"]),
        ("create_scheduler", ["self", "num_training_steps", "optimizer"]),
        ("_load_optimizer_and_scheduler", ["self", "checkpoint"]),
        ("log", ["self", "logs", "start_time"]),
    ],
)
def test_signatures(method: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(GRPOTrainer, method)).parameters) == parameters


def test_the_log_prob_seam_starts_as_we_call_it() -> None:
    names = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert names[:5] == ["self", "model", "input_ids", "attention_mask", "logits_to_keep"]


def test_uniform_is_plain_trl_to_the_bit(tmp_path: Path) -> None:
    ours = trainer(tmp_path / "a", None)
    ours.train()
    tokenizer = tiny.build_tokenizer()
    plain = GRPOTrainer(
        reward_funcs=[parity_scorer()],
        args=arguments(tmp_path / "b"),
        model=tiny.build_model(0),
        train_dataset=prompt_dataset(TASKS, None),
        processing_class=tokenizer,
    )
    plain.train()
    assert same(weights_of(ours), weights_of(plain))
    assert not same(weights_of(ours), dict(tiny.build_model(0).state_dict()))


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_weights_of_one_are_the_identity(tmp_path: Path, num_iterations: int) -> None:
    """A gain of 1 sends (B, T) advantages through both ways of probing and trains what (B,) ones train."""
    ones = CreditSettings(rule=functools.partial(coupled, gain=1.0), horizon=(3, 20))
    weighted = trainer(tmp_path / "a", ones, num_iterations=num_iterations)
    weighted.train()
    uniform = trainer(tmp_path / "b", None, num_iterations=num_iterations)
    uniform.train()
    for name, value in weights_of(uniform).items():
        torch.testing.assert_close(weights_of(weighted)[name], value, atol=1e-6, rtol=1e-5)


def test_credit_changes_training(tmp_path: Path) -> None:
    weighted = trainer(tmp_path / "a", CREDIT)
    weighted.train()
    uniform = trainer(tmp_path / "b", None)
    uniform.train()
    assert not same(weights_of(weighted), weights_of(uniform))


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_kept_weights_are_those_of_a_measurement(tmp_path: Path, num_iterations: int) -> None:
    """What rides on the training forward, or on the old log-probs' pass, is what measure says of the same policy."""
    seen = Seen()
    policy = trainer(tmp_path, CREDIT, seen, max_steps=1, num_iterations=num_iterations)
    before = tiny.build_model(0)
    policy.train()
    (step, heads), (first, rollouts) = seen.heads[0], seen.rollouts[0]
    assert (step, first, len(rollouts)) == (1, 1, 8)
    check_against_measure(rollouts, before, heads)


def check_against_measure(rows: list, model: Any, heads: Heads) -> None:
    """Compare what rollouts were kept with against what measure says of them under model."""
    tokenizer = tiny.build_tokenizer()
    for kept in rows:
        messages = [{"role": "user", "content": kept.rollout.prompt}]
        prompt_ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        ids = torch.tensor([[*prompt_ids, *kept.rollout.token_ids]])
        response = torch.zeros_like(ids)
        response[:, len(prompt_ids) :] = 1
        rhythm = measure(model, ids, torch.ones_like(ids), response, heads=heads, horizon=(3, 20))
        part = slice(len(prompt_ids), None)
        torch.testing.assert_close(torch.tensor(kept.waad), rhythm.waad[0, part], atol=1e-4, rtol=0)
        torch.testing.assert_close(torch.tensor(kept.fai), rhythm.fai[0, part], atol=1e-6, rtol=1e-4)
        assert kept.weights == coupled(Signals(response.bool(), rhythm)).weights[0, part].tolist()


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_the_reference_pass_is_not_probed(tmp_path: Path, num_iterations: int) -> None:
    """At the third step the policy has left its reference: what was read is the policy's, at the time it generated."""
    seen = Seen()
    tiny.build_model(0).save_pretrained(tmp_path / "base")
    model = type(tiny.build_model(0)).from_pretrained(tmp_path / "base")
    steps = {"beta": 0.01, "max_steps": 3, "num_iterations": num_iterations, "learning_rate": 1e-2}
    policy = trainer(tmp_path / "run", CREDIT, seen, model=model, **steps)
    then: list[Any] = []
    policy.add_callback(_policy_reader(2, then))
    policy.train()
    assert policy.ref_model is not None and not same(weights_of(policy), dict(policy.ref_model.state_dict()))
    assert [step for step, _ in seen.rollouts] == [1, 2, 3]
    check_against_measure(seen.rollouts[2][1], then[0], seen.heads[-1][1])
    with pytest.raises(AssertionError):
        check_against_measure(seen.rollouts[2][1], policy.ref_model, seen.heads[-1][1])


def _policy_reader(step: int, then: list[Any]) -> TrainerCallback:
    """Keep a copy of the policy as it is after a step."""

    class Reader(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if state.global_step == step:
                then.append(tiny.build_model(0))
                then[0].load_state_dict(model.state_dict())

    return Reader()


def test_heads_are_selected_again_when_due(tmp_path: Path) -> None:
    seen = Seen()
    trainer(tmp_path, CREDIT, seen, max_steps=5).train()
    assert [step for step, _ in seen.heads] == [1, 3, 5]


@pytest.mark.parametrize("credit", [None, CREDIT])
def test_a_batch_of_eight_is_four_twice(tmp_path: Path, credit: CreditSettings | None) -> None:
    """One step of 8 sequences and one of 4 x 2 accumulated give the same gradient, whatever the credit."""
    gradients = []
    for name, split in {
        "whole": {},
        "parts": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
    }.items():
        policy = trainer(tmp_path / name, credit, max_steps=1, max_grad_norm=0.0, **split)
        norms: list[float] = []
        policy.add_callback(_gradient_reader(norms))
        policy.train()
        gradients.append(norms)
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-4)
    assert gradients[0][0] > 0


def _gradient_reader(norms: list[float]) -> TrainerCallback:
    class Reader(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            norms.extend(float(p.grad.double().norm()) for p in model.parameters() if p.grad is not None)

    return Reader()


def test_special_tag_tokens_reach_the_reward() -> None:
    """TRL's own text drops special tokens, so tags that a tokenizer holds as special would silence every reward."""
    tokenizer = tiny.build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>", "<answer>", "</answer>"]})
    text = "<think>1 + 1 = 2.</think><answer>2</answer>"
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    assert "<answer>" not in tokenizer.decode(ids, skip_special_tokens=True)
    rubric = Rubric({"answer": Answer(), "format": Format()}, {"answer": 1.0, "format": 1.0})
    reward = Scorer(rubric, [Task("t", "1 + 1", "2")], tokenizer, group_size=1)
    logged: list[tuple[str, float]] = []
    total = reward(
        prompts=[[{"role": "user", "content": "1 + 1"}]],
        completion_ids=[ids],
        task=[0],
        log_metric=lambda name, value: logged.append((name, value)),
    )
    assert total == [1.0]
    assert {name: value for name, value in logged if not name.startswith("time/")} == {
        "reward/answer/mean": 1.0,
        "reward/answer/unjudged": 0.0,
        "reward/format/mean": 0.0,
        "reward/unjudged/share": 0.0,
        "reward/zero_groups/share": 0.0,
    }
    assert reward.rollouts[0].sample.completion == text and not reward.rollouts[0].sample.truncated
