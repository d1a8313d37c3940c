"""PPO on the GRPO trainer's seams: gradients, credit, critic, checkpoints. Equations have their own tests."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.grpo import TASKS, ByParity, Seen, rollouts_by_place, same, weights_of
from reference.grpo import trainer as grpo_trainer
from reference.ppo import trainer
from torch import Tensor
from transformers import AutoModelForCausalLM

from rewards import Rubric
from rl import credit as rules
from rl import critic as critics
from rl import tiny
from rl.attention.structure import attention_modules
from rl.credit import coupled
from rl.critic import Critic
from rl.models import hidden_size, own_critic
from rl.scoring import Scorer
from rl.trainers.ppo import PpoSettings, PpoTrainer
from rl.trainers.token_credit import CreditSettings

PLAIN = PpoSettings(whiten=False, critic_learning_rate=1e-9, critic_trunk_gradient=False)
SGD: dict[str, Any] = {"optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant", "max_grad_norm": 1e9}
ONE_STEP: dict[str, Any] = {**SGD, "max_steps": 1}
CREDIT = CreditSettings(rule=functools.partial(coupled, gain=3.0), horizon=(3, 20), reselect_every=2)


def policy_of(trained: Any) -> dict[str, Tensor]:
    return critics.split(weights_of(trained))[0]


def critic_of(trained: Any) -> dict[str, Tensor]:
    return critics.split(weights_of(trained))[1]


def whole_batch(trained: PpoTrainer) -> dict[str, Tensor]:
    """The last generation batch, its rows in the order they were generated in."""
    assert trained._buffered_inputs is not None
    batches: list[dict[str, Any]] = trained._buffered_inputs  # pyright: ignore
    rows = torch.cat([batch["row"] for batch in batches]).argsort()
    keys = [key for key, value in batches[0].items() if value.dim()]
    return {key: torch.cat([batch[key] for batch in batches])[rows] for key in keys}


def close(left: dict[str, Tensor], right: dict[str, Tensor], atol: float = 1e-6) -> None:
    assert left.keys() == right.keys()
    for name, value in right.items():
        torch.testing.assert_close(left[name], value, atol=atol, rtol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


def test_without_a_critic_it_is_reinforce(tmp_path: Path) -> None:
    """lambda = 1, V = 0, no whitening: one step of SGD goes along the mean over tokens of R grad log p."""
    ppo = trainer(tmp_path, PLAIN, num_generations=1, **ONE_STEP)
    ppo.train()
    batch, reference = whole_batch(ppo), tiny.build_model(0)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    length = batch["completion_ids"].shape[1]
    logits = reference(input_ids=ids, attention_mask=mask).logits[:, -length - 1 : -1]
    logps = logits.log_softmax(-1).gather(-1, batch["completion_ids"].unsqueeze(-1)).squeeze(-1)
    rewards = torch.tensor([rollout.score.total for rollout in ppo.reward.rollouts])
    assert 0 < rewards.sum() < len(rewards)
    own = batch["completion_mask"]
    (-(logps * rewards.unsqueeze(-1) * own).sum() / own.sum()).backward()
    stepped = {name: p - p.grad for name, p in reference.named_parameters() if p.grad is not None}
    close({name: policy_of(ppo)[name] for name in stepped}, stepped, atol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("micro_batch", [8, 4])
def test_with_a_group_baseline_it_is_grpo(tmp_path: Path, beta: float, micro_batch: int) -> None:
    """The same rollouts, the same step, with TRL's KL in the loss or without."""
    tiny.build_model(0).save_pretrained(tmp_path / "base")
    model = functools.partial(AutoModelForCausalLM.from_pretrained, tmp_path / "base")
    same_ways: dict[str, Any] = {
        **SGD,
        "learning_rate": 0.1,
        "max_steps": 2,
        "beta": beta,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": 8 // micro_batch,
    }
    settings = PpoSettings(**{**PLAIN.__dict__, "baseline": "group", "kl_place": "loss", "kl_estimator": "k3"})
    ppo = trainer(tmp_path / "ppo", settings, model=model(), **same_ways)
    ppo.train()
    grpo = grpo_trainer(tmp_path / "grpo", None, model=model(), scale_rewards="none", **same_ways)
    grpo.train()
    close(policy_of(ppo), weights_of(grpo), atol=1e-5)
    assert not same(weights_of(grpo), dict(tiny.build_model(0).state_dict()))


def with_random_head(critic: Critic) -> Critic:
    """A critic whose loss reaches what is below its head."""
    torch.nn.init.normal_(critic.head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    return critic


def shared() -> Critic:
    return with_random_head(Critic(hidden_size(tiny.build_model(0))))


def test_a_step_does_not_depend_on_its_micro_batches(tmp_path: Path) -> None:
    """Two updates of eight rollouts each, in one piece or in four."""
    common: dict[str, Any] = {**SGD, "learning_rate": 0.1, "max_steps": 2, "generation_batch_size": 16}
    one = trainer(tmp_path / "one", PpoSettings(), CREDIT, critic=shared(), **common)
    one.train()
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    four = trainer(tmp_path / "four", PpoSettings(), CREDIT, critic=shared(), **common, **split)
    four.train()
    assert four.args.steps_per_generation == 8
    close(weights_of(one), weights_of(four), atol=1e-5)
    names = ("critic/loss/mean", "critic/clip/share", "loss")
    left, right = one.state.log_history[1], four.state.log_history[1]
    assert [left[name] for name in names] == pytest.approx([right[name] for name in names], abs=1e-5)


@pytest.mark.parametrize("kind", [rules.uniform_gain, rules.preplan, rules.anchor, rules.coupled, rules.random,
                                  rules.shuffled, rules.entropy])  # fmt: skip
def test_credit_weighs_advantages_and_never_the_critics_targets(tmp_path: Path, kind: Any) -> None:
    reads = {"random": {"noise"}, "shuffled": {"attention", "noise"}, "entropy": {"entropy"}, "uniform_gain": set()}
    credit = CreditSettings(
        rule=functools.partial(kind, gain=3.0),
        reads=frozenset(reads.get(kind.__name__, {"attention"})),
        horizon=(3, 20),
    )
    weighed = trainer(tmp_path / "a", PpoSettings(), credit, **ONE_STEP)
    weighed.train()
    plain = trainer(tmp_path / "b", PpoSettings(), **ONE_STEP)
    plain.train()
    ours, theirs = whole_batch(weighed), whole_batch(plain)
    scores = torch.tensor([rollout.score.total for rollout in weighed.reward.rollouts])
    own = ours["completion_mask"].bool()
    torch.testing.assert_close(ours["returns"][own], scores.unsqueeze(-1).expand_as(own)[own])
    assert torch.equal(ours["returns"], theirs["returns"]) and torch.equal(ours["values"], theirs["values"])
    torch.testing.assert_close(ours["advantages"], theirs["advantages"] * ours["weights"])
    assert ours["weights"].max() >= 3.0 and not torch.equal(ours["advantages"], theirs["advantages"])
    assert not same(policy_of(weighed), policy_of(plain))


def test_one_sign_is_that_of_each_tokens_advantage(tmp_path: Path) -> None:
    credit = CreditSettings(rule=functools.partial(rules.uniform_gain, gain=3.0), reads=frozenset(), sign="positive")
    ppo = trainer(tmp_path, PpoSettings(), credit, **ONE_STEP)
    ppo.train()
    batch = whole_batch(ppo)
    own, positive = batch["completion_mask"].bool(), batch["unweighted"] >= 0
    assert (batch["weights"][own & positive] == 3.0).all() and (batch["weights"][own & ~positive] == 1.0).all()
    assert (own & positive).any() and (own & ~positive).any()


@pytest.mark.parametrize("credit", [None, CREDIT])
def test_a_shared_trunk_costs_no_pass_of_its_own(tmp_path: Path, credit: CreditSettings | None) -> None:
    """As many passes of the trunk, over as many rows, as GRPO makes where it needs old log-probs."""

    def passes(trained: Any) -> list[tuple[int, ...]]:
        seen: list[tuple[int, ...]] = []
        trunk = trained.model.base_model
        trunk.register_forward_hook(
            lambda _, args, kwargs, __: seen.append(kwargs["input_ids"].shape), with_kwargs=True
        )
        trained.train()
        return seen

    shape: dict[str, Any] = {"num_iterations": 2, "max_steps": 2, "learning_rate": 0.0, "use_cpu": True}
    ppo = passes(trainer(tmp_path / "a", PpoSettings(critic_learning_rate=1e-9), credit, **shape))
    assert ppo == passes(grpo_trainer(tmp_path / "b", credit, **shape))


def test_values_are_the_critics_of_the_states_before_each_token(tmp_path: Path) -> None:
    """Against the head on a forward pass of its own, for left-padded prompts and completions of any length."""
    model = tiny.build_model(0)
    critic = Critic(hidden_size(model))
    torch.nn.init.normal_(critic.head.weight, generator=torch.Generator().manual_seed(0))
    before = tiny.build_model(0)
    head = torch.nn.Linear(hidden_size(model), 1)
    head.load_state_dict(critic.head.state_dict())
    settings = PpoSettings(gae_lambda=0.5, truncated="bootstrap", whiten=False)
    ppo = trainer(tmp_path, settings, model=model, critic=critic, rollout_func=rollouts_by_place, **ONE_STEP)
    ppo.train()
    batch, length = whole_batch(ppo), 0
    for row, rollout in enumerate(ppo.reward.rollouts):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        completion = torch.tensor(rollout.token_ids)
        length = len(completion)
        with torch.no_grad():
            values = head(before.model(torch.cat([prompt, completion])[None]).last_hidden_state)[
                0, len(prompt) - 1 :, 0
            ]
        torch.testing.assert_close(batch["values"][row, :length], values[:-1], atol=1e-4, rtol=1e-4)
        assert rollout.score.total is not None
        behind = values[-1].item() if rollout.sample.truncated else 0.0
        last = batch["unweighted"][row, length - 1].item()
        assert last == pytest.approx(rollout.score.total + behind - values[-2].item(), abs=1e-4)
    assert {rollout.sample.truncated for rollout in ppo.reward.rollouts} == {True, False}


def test_warming_up_trains_the_critic_alone(tmp_path: Path) -> None:
    """Weight decay included; and the optimizer has seen the policy's gradients when its turn comes."""
    settings = PpoSettings(critic_warmup_steps=2, critic_learning_rate=1e-2)
    ppo = trainer(tmp_path, settings, max_steps=2, weight_decay=0.5)
    ppo.train()
    assert same(policy_of(ppo), dict(tiny.build_model(0).state_dict()))
    assert critic_of(ppo)["head.weight"].abs().sum() > 0
    assert ppo.optimizer is not None
    moments = [state["exp_avg_sq"].sum() for state in ppo.optimizer.state.values()]
    assert len(moments) == len(weights_of(ppo)) - 1 and all(moment > 0 for moment in moments)  # one weight is tied
    assert [row["learning_rate"] for row in ppo.state.log_history[:2]] == [0.0, 0.0]
    later = trainer(tmp_path / "later", settings, max_steps=3)
    later.train()
    assert not same(policy_of(later), dict(tiny.build_model(0).state_dict()))


def test_the_critic_has_its_own_learning_rate(tmp_path: Path) -> None:
    ppo = trainer(tmp_path, PpoSettings(critic_learning_rate=0.25), learning_rate=0.5)
    groups = ppo.create_optimizer().param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    named = dict(ppo.model.named_parameters())
    assert {name: rates[id(p)] for name, p in named.items()} == {
        name: 0.25 if name.startswith("critic.") else 0.5 for name in named
    }
    assert sum(len(group["params"]) for group in groups) == len(named)


@pytest.mark.parametrize("trunk_gradient", [True, False])
def test_the_critics_loss_reaches_a_shared_trunk_where_it_may(tmp_path: Path, trunk_gradient: bool) -> None:
    """Weights of 0 leave the policy no gradient of its own."""
    none = CreditSettings(rule=functools.partial(rules.uniform_gain, gain=0.0), reads=frozenset())
    critic = shared()
    before = critic.head.weight.detach().clone()
    ppo = trainer(tmp_path, PpoSettings(critic_trunk_gradient=trunk_gradient), none, critic=critic, **ONE_STEP)
    ppo.train()
    assert same(policy_of(ppo), dict(tiny.build_model(0).state_dict())) is not trunk_gradient
    assert not torch.equal(critic_of(ppo)["head.weight"], before)


class PartlyNone(ByParity):
    """A reward that cannot judge every third length."""

    def __call__(self, sample: Any) -> float | None:
        return None if len(sample.completion) % 3 == 0 else super().__call__(sample)


def test_what_cannot_be_judged_trains_neither_policy_nor_critic(tmp_path: Path) -> None:
    rubric = Rubric({"partly": PartlyNone()}, {"partly": 1.0})
    scorer = Scorer(rubric, TASKS, tiny.build_tokenizer(), group_size=4)
    ppo = trainer(tmp_path, PpoSettings(whiten=False), scorer=scorer, critic=shared(), **ONE_STEP)
    ppo.train()
    batch = whole_batch(ppo)
    unjudged = torch.tensor([rollout.score.total is None for rollout in ppo.reward.rollouts])
    assert unjudged.any() and not unjudged.all()
    assert not batch["judged"][unjudged].any() and (batch["advantages"][unjudged] == 0).all()
    assert torch.isfinite(batch["advantages"]).all() and (batch["advantages"][~unjudged] != 0).any()
    assert all(torch.isfinite(p).all() for p in weights_of(ppo).values())


def test_the_critics_step_is_the_mean_over_the_judged_tokens_of_all_updates(tmp_path: Path) -> None:
    """V = 0.3 and R = the reward: a step of SGD moves the bias by weight x mean (R - V), the first of two updates."""
    critic = Critic(hidden_size(tiny.build_model(0)))
    torch.nn.init.constant_(critic.head.bias, 0.3)
    scorer = Scorer(Rubric({"partly": PartlyNone()}, {"partly": 1.0}), TASKS, tiny.build_tokenizer(), group_size=4)
    settings = PpoSettings(critic_learning_rate=1.0, critic_loss_weight=0.25, critic_trunk_gradient=False)
    ppo = trainer(tmp_path, settings, critic=critic, scorer=scorer, generation_batch_size=16, **ONE_STEP)
    ppo.train()
    assert ppo._buffered_inputs is not None
    batches: list[dict[str, Any]] = ppo._buffered_inputs  # pyright: ignore
    scores = [rollout.score.total for rollout in ppo.reward.rollouts]
    judged = {row: len(ppo.reward.rollouts[row].token_ids) for row in range(16) if scores[row] is not None}
    assert 0 < len(judged) < 16 and len(batches) == 2
    pulls = [judged[row] * (float(scores[row] or 0) - 0.3) for row in batches[0]["row"].tolist() if row in judged]
    expected = 0.3 + 0.25 * sum(pulls) / (sum(judged.values()) / 2)
    assert critic_of(ppo)["head.bias"].item() == pytest.approx(expected, abs=1e-5)


def test_cut_off_completions_that_trl_masks_change_nothing(tmp_path: Path) -> None:
    ppo = trainer(tmp_path, PpoSettings(), mask_truncated_completions=True, max_completion_length=8, **ONE_STEP)
    ppo.train()
    assert all(rollout.sample.truncated for rollout in ppo.reward.rollouts)
    assert same(policy_of(ppo), dict(tiny.build_model(0).state_dict()))
    assert critic_of(ppo)["head.weight"].abs().sum() == 0


@pytest.mark.parametrize(("estimator", "target"), [("k1", None), ("k3", 0.001)])
def test_the_kl_is_a_penalty_on_each_tokens_reward(tmp_path: Path, estimator: Any, target: float | None) -> None:
    """At the second step the policy has left its reference: r_t = -beta KL_t, and the score on top at the end."""
    tiny.build_model(0).save_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    settings = PpoSettings(**{**PLAIN.__dict__, "kl_estimator": estimator, "kl_target": target})
    ppo = trainer(tmp_path, settings, model=model, beta=0.5, max_steps=2, learning_rate=1e-2)
    ppo.train()
    batch = whole_batch(ppo)
    d = batch["ref_per_token_logps"] - batch["old_per_token_logps"]
    kl = (-d if estimator == "k1" else d.exp() - d - 1) * batch["completion_mask"]
    assert kl.abs().sum() > 1e-3
    rewards = torch.tensor([rollout.score.total for rollout in ppo.reward.rollouts])
    last = [row for row in ppo.state.log_history if "kl" in row][-1]
    weight = last["policy/kl_weight/last"]
    assert weight == pytest.approx(0.5 if target is None else 0.5 * 0.98)  # the first batch's KL was 0
    assert ppo.kl_weight.value == pytest.approx(weight if target is None else weight * 1.02)  # for the next rollouts
    returns = rewards[:, None] - weight * kl.flip(-1).cumsum(-1).flip(-1)
    own = batch["completion_mask"].bool()
    torch.testing.assert_close((batch["unweighted"] + batch["values"])[own], returns[own], atol=1e-4, rtol=1e-4)
    assert last["kl"] == pytest.approx((kl.sum() / own.sum()).item(), rel=1e-3)


def test_groups_of_one_have_no_spread_to_report(tmp_path: Path) -> None:
    ppo = trainer(tmp_path, PpoSettings(), num_generations=1, max_steps=1)
    ppo.train()
    assert len({rollout.prompt for rollout in ppo.reward.rollouts}) > 1
    assert "frac_reward_zero_std" not in ppo.state.log_history[0]
    assert "critic/loss/mean" in ppo.state.log_history[0]


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    plain = trainer(tmp_path / "a", PpoSettings(), CREDIT, **ONE_STEP)
    plain.train()
    frugal = trainer(tmp_path / "b", PpoSettings(), CREDIT, gradient_checkpointing=True, **ONE_STEP)
    frugal.train()
    close(weights_of(frugal), weights_of(plain))
    own = [with_random_head(own_critic(tiny.build_model(1))) for _ in range(3)]
    plain = trainer(tmp_path / "c", PpoSettings(), CREDIT, critic=own[0], **ONE_STEP)
    plain.train()
    frugal = trainer(tmp_path / "d", PpoSettings(), CREDIT, critic=own[1], gradient_checkpointing=True, **ONE_STEP)
    frugal.train()
    close(weights_of(frugal), weights_of(plain))
    assert not same(critic_of(plain), dict(own[2].state_dict()))


@pytest.mark.parametrize("how", ["shared", "own critic"])
def test_under_autocast_values_are_computed_in_full(tmp_path: Path, how: str) -> None:
    critic = with_random_head(own_critic(tiny.build_model(1))) if how == "own critic" else shared()
    ppo = trainer(tmp_path, PpoSettings(), CREDIT, critic=critic, bf16=True, use_cpu=True, **ONE_STEP)
    ppo.train()
    values = whole_batch(ppo)["values"]
    assert values.dtype == torch.float32 and not torch.equal(values, values.bfloat16().float())
    assert all(torch.isfinite(value).all() for value in weights_of(ppo).values())
    assert not same(policy_of(ppo), dict(tiny.build_model(0).state_dict()))


def test_a_critic_of_its_own_leaves_the_policy_alone(tmp_path: Path) -> None:
    """Its attention is not what credit reads, and its loss reaches the policy by the norm of both's gradient alone."""
    model = tiny.build_model(0)
    own = attention_modules(model)
    critics.attach(model, own_critic(tiny.build_model(1)))
    assert attention_modules(model) == own and len(own) == tiny.NUM_LAYERS
    critics.detach(model)
    plain = trainer(tmp_path / "a", PLAIN, CREDIT, **ONE_STEP)
    plain.train()
    settings = PpoSettings(**{**PLAIN.__dict__, "critic_trunk_gradient": True})
    critic = own_critic(tiny.build_model(1))
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    apart = trainer(tmp_path / "b", settings, CREDIT, critic=critic, **ONE_STEP)
    apart.train()
    close(policy_of(apart), policy_of(plain))
    settings = PpoSettings(**{**settings.__dict__, "critic_learning_rate": 1e-2})
    trained = trainer(tmp_path / "c", settings, critic=own_critic(tiny.build_model(1)), max_steps=2)
    trained.train()
    assert not same(critic_of(trained), before)


def test_kept_rollouts_say_what_each_token_got(tmp_path: Path) -> None:
    seen = Seen()
    ppo = trainer(tmp_path, PpoSettings(), CREDIT, seen, max_steps=1)
    ppo.train()
    (_, rollouts), batch = seen.rollouts[0], whole_batch(ppo)
    for row, kept in enumerate(rollouts):
        length = len(kept.rollout.token_ids)
        assert kept.values == batch["values"][row, :length].tolist()
        assert kept.advantages == batch["unweighted"][row, :length].tolist()
        assert kept.advantage == pytest.approx(sum(kept.advantages) / length, abs=1e-6)
