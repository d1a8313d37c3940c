"""Training stages on TRL's trainers."""

from rl.trainers.attention_credit import CreditSettings
from rl.trainers.fit import Schedule, TrainerError, fit_grpo, fit_sft, grpo_config, sft_config
from rl.trainers.interrupt import Interrupt, Interrupted
from rl.trainers.names import rename
from rl.trainers.observer import Observer

__all__ = [
    "CreditSettings",
    "Interrupt",
    "Interrupted",
    "Observer",
    "Schedule",
    "TrainerError",
    "fit_grpo",
    "fit_sft",
    "grpo_config",
    "rename",
    "sft_config",
]
