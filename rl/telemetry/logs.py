"""Where messages go: ours and the libraries' to train.log, and nothing of the libraries' to the terminal."""

import logging
import os
from pathlib import Path

import torch
import transformers
from datasets import disable_progress_bars

LIBRARIES = ("py.warnings", "transformers", "trl", "accelerate", "datasets", "peft", "DeepSpeed")


def quiet_libraries() -> None:
    """Keep the libraries' bars and warnings off the terminal; warnings go to train.log once there is one."""
    disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_default_handler()
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a full disk must not print a traceback for every line of the log
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # where DeepSpeed is installed it would warn that it found none
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [logging.NullHandler()], False


def log_to(path: Path) -> None:
    """Send all messages to a file."""
    path.parent.mkdir(exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.getLogger("rhythm").setLevel(logging.INFO)
    for name in ("rhythm", *LIBRARIES):
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [handler], False
