"""A PPO trainer on the tiny model, small enough for a test."""

from pathlib import Path
from typing import Any

from reference.grpo import TASKS, Seen, arguments, parity_scorer

from rl import tiny
from rl.critic import Critic
from rl.models import hidden_size
from rl.rollouts import prompt_dataset
from rl.scoring import Scorer
from rl.trainers.ppo import PpoConfig, PpoSettings, PpoTrainer
from rl.trainers.token_credit import CreditSettings


def trainer(
    folder: Path,
    settings: PpoSettings,
    credit: CreditSettings | None = None,
    seen: Seen | None = None,
    model: Any = None,
    critic: Critic | None = None,
    rollout_func: Any = None,
    scorer: Scorer | None = None,
    **changes: Any,
) -> PpoTrainer:
    policy = model or tiny.build_model(0)
    return PpoTrainer(
        settings=settings,
        critic=critic or Critic(hidden_size(policy)),
        reward=scorer or parity_scorer(changes.get("num_generations", 4)),
        args=arguments(folder, PpoConfig, **changes),
        credit=credit,
        observer=seen or Seen(),
        keep_every=1,
        keep_count=8,
        model=policy,
        train_dataset=prompt_dataset(TASKS, None),
        processing_class=tiny.build_tokenizer(),
        rollout_func=rollout_func,
    )
