"""Tell a watchdog that the run goes on: behind every step and every save."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class Pulse(TrainerCallback):
    """Call `beat` at the ends of what may take long."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self.beat = beat

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Training begins."""
        self.beat()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """A step has ended."""
        self.beat()

    def on_save(self, *args: Any, **kwargs: Any) -> None:
        """A checkpoint has been written."""
        self.beat()
