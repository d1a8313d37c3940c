"""Training stages on TRL's trainers."""

from rl.trainers.alarms import Alarm, Alarmed, Alarms
from rl.trainers.fit import (
    Schedule,
    TrainerError,
    fit_online,
    fit_sft,
    grpo_config,
    ppo_config,
    sft_config,
)
from rl.trainers.grpo import GrpoTrainer
from rl.trainers.interrupt import Interrupt, Interrupted
from rl.trainers.names import rename
from rl.trainers.observer import Observer
from rl.trainers.ppo import PpoSettings, PpoTrainer
from rl.trainers.token_credit import CreditSettings

__all__ = [
    "Alarm",
    "Alarmed",
    "Alarms",
    "CreditSettings",
    "GrpoTrainer",
    "Interrupt",
    "Interrupted",
    "Observer",
    "PpoSettings",
    "PpoTrainer",
    "Schedule",
    "TrainerError",
    "fit_online",
    "fit_sft",
    "grpo_config",
    "ppo_config",
    "rename",
    "sft_config",
]
