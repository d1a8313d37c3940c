"""Training stages on TRL's trainers."""

from rl.trainers.attention_credit import CreditSettings
from rl.trainers.fit import Schedule, fit_grpo, fit_sft
from rl.trainers.interrupt import Interrupt
from rl.trainers.names import rename
from rl.trainers.observer import Observer

__all__ = ["CreditSettings", "Interrupt", "Observer", "Schedule", "fit_grpo", "fit_sft", "rename"]
