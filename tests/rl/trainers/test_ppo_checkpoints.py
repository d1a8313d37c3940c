"""Who sees a policy with its critic, and who without: checkpoints, vLLM, frozen copies; and resuming."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from reference.grpo import TASKS, ByParity, same, weights_of
from reference.ppo import trainer
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from trl.generation.vllm_generation import VLLMGeneration

from rewards import Rubric
from rl import critic as critics
from rl import models, tiny
from rl.credit import coupled
from rl.critic import Critic
from rl.judge.frozen import FrozenCopy
from rl.models import hidden_size, own_critic
from rl.multiplier import Multiplier
from rl.scoring import Scorer
from rl.trainers.ppo import PpoSettings, PpoTrainer
from rl.trainers.token_credit import CreditSettings

CREDIT = CreditSettings(rule=functools.partial(coupled, gain=3.0), horizon=(3, 20), reselect_every=2)


def policy_of(trained: Any) -> dict[str, Tensor]:
    return critics.split(weights_of(trained))[0]


def critic_of(trained: Any) -> dict[str, Tensor]:
    return critics.split(weights_of(trained))[1]


def lora() -> PeftModel:
    return models.add_lora(tiny.build_model(0), rank=4, alpha=8, dropout=0.0, targets="all-linear")


@pytest.mark.parametrize("how", ["full", "lora", "own critic"])
def test_checkpoints_hold_a_plain_policy_and_the_critic_beside_it(tmp_path: Path, how: str) -> None:
    model: Any = lora() if how == "lora" else tiny.build_model(0)
    critic = own_critic(tiny.build_model(1)) if how == "own critic" else None
    ppo = trainer(tmp_path, PpoSettings(), model=model, critic=critic, save_strategy="steps", save_steps=3)
    ppo.train()
    folder = tmp_path / "checkpoint-3"
    beside = load_file(folder / "critic" / "critic.safetensors")
    assert all(torch.equal(beside[name], value) for name, value in critic_of(ppo).items()) and len(beside) >= 2
    if how == "lora":
        saved = load_file(folder / "adapter_model.safetensors")
        assert saved and all("lora_" in name and "critic" not in name for name in saved)
    else:
        assert not any("critic" in name for name in load_file(folder / "model.safetensors"))
        loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not info["unexpected_keys"] and not info["missing_keys"]
        assert same(dict(loaded.state_dict()), policy_of(ppo))


class Bounded:
    """A constraint: below 0 where a completion has an even number of characters."""

    def __call__(self, sample: Any) -> float:
        return float(len(sample.completion) % 2) - 1.0


def constrained() -> Scorer:
    """A lagrangian of two rewards, whose multiplier moves with every batch."""
    rewards = {"parity": ByParity(), "bounded": Bounded()}
    rubric = Rubric(rewards, dict.fromkeys(rewards, 1.0), "lagrangian", {"bounded": "constraint"})
    return Scorer(rubric, TASKS, tiny.build_tokenizer(), group_size=4, multiplier=Multiplier(1.0, 0.3))


@pytest.mark.parametrize("how", ["full", "lora", "own critic", "adaptive", "adaptive lora"])
def test_resumed_is_never_stopped(tmp_path: Path, how: str) -> None:
    """With a checkpoint between a generation and its last use, where values and returns wait in the buffer."""
    tiny.build_model(0).save_pretrained(tmp_path / "base")

    def build(folder: str) -> PpoTrainer:
        model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        if "lora" in how:
            model = models.add_lora(model, rank=4, alpha=8, dropout=0.0, targets="all-linear")
        return trainer(
            tmp_path / folder,
            PpoSettings(critic_learning_rate=1e-2, kl_target=0.01 if "adaptive" in how else None),
            CREDIT,
            model=model,
            critic=own_critic(tiny.build_model(1)) if how == "own critic" else None,
            scorer=constrained(),
            beta=0.1 if "adaptive" in how else 0.0,
            save_strategy="steps",
            save_steps=3,
            max_steps=6,
            num_iterations=2,
            learning_rate=1e-2,
        )

    whole = build("run")
    whole.train()
    again = build("run")
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert same(weights_of(again), weights_of(whole))
    assert again.kl_weight == whole.kl_weight
    assert again.reward.state() == whole.reward.state() and whole.reward.multiplier.value != 1.0
    ours, theirs = again.state.log_history[-2], whole.state.log_history[-2]
    keys = [key for key in theirs if key.startswith(("critic/", "loss", "grad_norm", "kl", "policy/"))]
    assert "critic/loss/mean" in keys and {key: ours[key] for key in keys} == {key: theirs[key] for key in keys}


class Server:
    """Take what TRL sends to a vLLM server."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def update_named_params(self, metadata: Any, weights: Any) -> None:
        self.names = {name for name, _ in weights}
        assert self.names == {name for name, *_ in metadata}

    def reset_prefix_cache(self) -> None:
        pass


@pytest.mark.parametrize("how", ["full", "lora"])
def test_vllm_is_sent_no_critic(tmp_path: Path, how: str) -> None:
    """TRL's own sending of weights, through what the trainer puts around it, to a server that writes names down."""
    model: Any = lora() if how == "lora" else tiny.build_model(0)
    ppo = trainer(tmp_path, PpoSettings(), model=model)
    sender: Any = object.__new__(VLLMGeneration)  # to build one needs vLLM
    sender.__dict__ |= {"model": model, "accelerator": ppo.accelerator, "_dist": ppo._dist, "mode": "server"}
    sender.__dict__ |= {"vllm_client": Server(), "_weight_metadata": None}
    sender.sync_weights()
    everything = sender.vllm_client.names
    assert {name for name in everything if "critic" in name} == {"critic.head.weight", "critic.head.bias"}
    ppo.vllm_generation, sender._weight_metadata = sender, None
    ppo.send_weights_inside(lambda: critics.without_critic(model))
    ppo.vllm_generation.sync_weights()
    assert sender.vllm_client.names == {name for name in everything if "critic" not in name}
    assert critics.policy_network(model).critic is not None


def test_a_frozen_copy_holds_the_policy_alone(tmp_path: Path) -> None:
    ppo = trainer(tmp_path, PpoSettings(), max_steps=1)
    copy = FrozenCopy(ppo.model)
    copy.take(1)
    assert copy.weights.keys() == set(dict(tiny.build_model(0).named_parameters()))


@pytest.mark.parametrize("damage", ["missing", "short", "of another shape"])
def test_a_damaged_critic_is_named_with_a_way_to_go_on(tmp_path: Path, damage: str) -> None:
    model = tiny.build_model(0)
    critics.attach(model, Critic(hidden_size(model)))
    folder = tmp_path / "checkpoint-7"
    critics.save(Critic(8 if damage == "of another shape" else hidden_size(model)).state_dict(), folder)
    path = folder / "critic" / "critic.safetensors"
    if damage == "missing":
        path.unlink()
    if damage == "short":
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"critic\.safetensors is missing or damaged .*; delete checkpoint-7 to go on"):
        critics.load(model, folder)


def test_a_critic_that_reads_another_vocabulary_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny.build_tokenizer()
    for name in ("same", "other"):
        tiny.build_model(0).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        tokenizer.add_tokens(["<more>"])
    models.check_critic(str(tmp_path / "same"), None, tiny.build_tokenizer())
    with pytest.raises(models.ModelError, match=r"critic\.model: .*other has another vocabulary than the policy"):
        models.check_critic(str(tmp_path / "other"), None, tiny.build_tokenizer())
    with pytest.raises(models.ModelError, match=r"critic\.model: .*nowhere/x is no folder"):
        models.check_critic(str(tmp_path / "nowhere" / "x"), None, tiny.build_tokenizer())
