"""What a ppo trainer's keys may say, and what its faults name."""

from pathlib import Path

import pytest

from rl.recipe import RecipeError, load
from rl.recipe.trainer_sections import Ppo
from rl.settings import ppo_settings


def faults(*overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load("quickstart-ppo", list(overrides))
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (
            "trainer.kl={place: loss, estimator: k1, weight: 0.1}",
            "kl: estimator: k1 has no gradient in the loss",
        ),
        ("trainer.kl.target=6", "trainer.kl: target: a weight of 0 stays 0; give the weight to start from"),
        ("trainer.baseline=group", "trainer: baseline: a group of one has no other reward; set num_generations to 2"),
        ("trainer.gae_lambda=1.5", "trainer.gae_lambda: should be less than or equal to 1, not 1.5"),
        ("trainer.critic.warmup_steps=120", "critic.warmup_steps: 120 of 120 steps leave the policy none to train in"),
        ("trainer.critic.revision=main", "critic.revision: is of a hub model; name it in `model`, or leave it out"),
        ("trainer.critic.trunk_gradient=false", "trunk_gradient: has no effect on a critic of its own; leave it out"),
        ("trainer.critic.modle=x", "critic.modle: unknown key; did you mean model?"),
        ("trainer.trl.beta=0.1", "trl.beta: is said by the recipe's own key `kl.weight`; set that"),
        ("trainer.trl.scale_rewards=none", "trl.scale_rewards: has no effect: advantages are whitened"),
        (
            "trainer={prompts_per_step: 1, micro_batch: 1}",
            "advantages of one rollout cannot be whitened",
        ),
        ("trainer.trl.sync_ref_model=true", "trl.sync_ref_model: is not to be had with a critic"),
        (
            "data={kind: reasoning_gym, task: countdown, traces: dialogue}",
            "traces: is of the worked completions",
        ),
        ("rewards={combine: decoupled}", "rewards.combine: decoupled makes advantages of a group's rewards"),
        (
            "effort={kind: relative, average: group}",
            "effort.average: a group of one is its own average; write ema, or num_generations: 2 or more",
        ),
    ],
)
def test_faults_name_key_and_remedy(overrides: str, fault: str) -> None:
    found = faults(f"stages.ppo.{overrides}")
    assert any(fault in text for text in found), found


def trainer(*overrides: str) -> Ppo:
    section = load("quickstart-ppo", [f"stages.ppo.trainer.{text}" for text in overrides]).stages[1].trainer
    assert isinstance(section, Ppo)
    return section


def test_each_place_of_the_kl_has_its_estimator() -> None:
    assert ppo_settings(trainer("kl.weight=0.1")).kl_estimator == "k1"
    assert ppo_settings(trainer("kl={weight: 0.1, estimator: k3}")).kl_estimator == "k3"
    in_loss = ppo_settings(trainer("kl={weight: 0.1, place: loss}"))
    assert (in_loss.kl_estimator, in_loss.kl_place) == ("k3", "loss")


def test_every_key_reaches_the_trainer() -> None:
    """Each setting differs from its default where its key does."""
    words = (
        "num_generations=2", "gamma=0.9", "gae_lambda=0.8", "whiten=false", "baseline=group", "truncated=bootstrap",
        "kl={weight: 0.5, place: loss, target: 3.0}",
        "critic={model: null, learning_rate: 0.1, warmup_steps: 3, loss_weight: 2, clip: 0, trunk_gradient: false}",
    )  # fmt: skip
    found, default = ppo_settings(trainer(*words)), ppo_settings(trainer("critic=null"))
    assert {name for name in vars(found) if vars(found)[name] == vars(default)[name]} == set()
    assert (found.gamma, found.gae_lambda, found.critic_warmup_steps, found.critic_loss_weight) == (0.9, 0.8, 3, 2.0)
    assert (found.critic_clip, found.critic_learning_rate, found.kl_target) == (None, 0.1, 3.0)


def test_the_recipe_in_the_documentation_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "ppo.md").read_text(encoding="utf-8")
    path = tmp_path / "my-ppo.yaml"
    path.write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    section = load(str(path)).stages[1].trainer
    assert isinstance(section, Ppo) and section.kl.weight == 0.001 and section.critic.model == "policy"
