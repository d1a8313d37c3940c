"""Training stages on TRL's trainers."""

from rl.trainers.alarms import Alarm, Alarmed, Alarms
from rl.trainers.fit import (
    Care,
    Schedule,
    TrainerError,
    fit_online,
    fit_sft,
    grpo_config,
    ppo_config,
    sft_config,
)
from rl.trainers.grpo import GrpoTrainer
from rl.trainers.guard import Guard
from rl.trainers.interrupt import Interrupt, Interrupted
from rl.trainers.names import rename
from rl.trainers.observer import Observer, Unwatched
from rl.trainers.ppo import PpoSettings, PpoTrainer
from rl.trainers.pulse import Pulse
from rl.trainers.token_credit import CreditSettings

__all__ = [
    "Alarm",
    "Alarmed",
    "Alarms",
    "Care",
    "CreditSettings",
    "GrpoTrainer",
    "Guard",
    "Interrupt",
    "Interrupted",
    "Observer",
    "PpoSettings",
    "PpoTrainer",
    "Pulse",
    "Schedule",
    "TrainerError",
    "Unwatched",
    "fit_online",
    "fit_sft",
    "grpo_config",
    "ppo_config",
    "rename",
    "sft_config",
]
