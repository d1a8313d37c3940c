"""Checkpoints of a trainer, written atomically: beside their place, and sealed while the next step runs.

Seams (transformers 5.17): _save_checkpoint, _get_output_dir, _prepare_for_training, training_step.
"""

import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.serialization import register_package, safe_globals
from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME

from rl import checkpoints
from rl.checkpoints import CheckpointError

logger = logging.getLogger("rhythm")

# Of several processes on a CPU accelerate calls the device "cpu:0", which torch.load does not know.
register_package(90, lambda _: None, lambda storage, place: storage if place.startswith("cpu:") else None)


class AtomicTrainer(Trainer):
    """Write a checkpoint beside its place and seal it from a thread of the main process; keep the newest `keep`.

    What the step waits for is what must see the weights as they are: writing them. Hashing, syncing and renaming run
    beside the next step; the next save and the end of training wait for them. Raises CheckpointError.
    """

    keep = 2
    _sealing: "Future[None] | None" = None
    _sealer: ThreadPoolExecutor | None = None

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        with _only_tensors(self.is_deepspeed_enabled):
            return super()._prepare_for_training(*args, **kwargs)

    def _save_own(self, folder: Path) -> None:
        """Write what a checkpoint has beside transformers' own files; every process calls it."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(str(self.args.output_dir)) / checkpoints.SAVING)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.finish_saving()
        started = time.monotonic()
        step, beside = self.state.global_step, Path(self._get_output_dir(trial))
        written = beside / f"{checkpoints.PREFIX}{step}"
        try:
            super()._save_checkpoint(model, trial)
            self._save_own(written)
            (written / TRAINING_ARGS_NAME).unlink(missing_ok=True)  # a pickle that nobody reads
        except Exception as error:  # safetensors, torch and DeepSpeed each have their own for a disk that is full
            if self.args.process_index == 0:
                shutil.rmtree(beside, ignore_errors=True)
            raise _fault(step, error, beside.parent) from error
        self.accelerator.wait_for_everyone()
        if self.args.process_index == 0:
            facts = {"step": step, "processes": self.args.world_size}
            self._sealer = self._sealer or ThreadPoolExecutor(1, "sealing")
            self._sealing = self._sealer.submit(self._seal, written, facts, time.monotonic() - started)

    def _seal(self, written: Path, facts: Mapping[str, Any], seconds: float) -> None:
        started, folder = time.monotonic(), written.parent.parent
        try:
            checkpoints.seal(written, facts)
        except OSError as error:
            shutil.rmtree(written, ignore_errors=True)
            raise _fault(facts["step"], error, folder) from error
        try:
            checkpoints.rotate(folder, self.keep)
        except OSError as error:  # the new one is safe; an old one is in the way of nobody
            logger.warning("an old checkpoint in %s could not be deleted: %s", folder, error)
        beside = time.monotonic() - started
        logger.info("%s: written in %.2f s, sealed in %.2f s beside the next step", written.name, seconds, beside)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, and return once the last checkpoint is where it belongs."""
        try:
            output = super().train(*args, **kwargs)
        except BaseException:  # passed on
            if self._sealing is not None:
                self._sealing.exception()  # it is awaited; what ended training is what must be said
            raise
        self.finish_saving()
        self.accelerator.wait_for_everyone()  # whoever leaves first may have the others ended
        return output

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Train on a micro-batch, unless a checkpoint turned out not to have been saved."""
        if self._sealing is not None and self._sealing.done():
            self.finish_saving()
        return super().training_step(*args, **kwargs)

    def finish_saving(self) -> None:
        """Wait until the newest checkpoint is where it belongs. Raises CheckpointError."""
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            sealing.result()


@contextmanager
def _only_tensors(of_deepspeed: bool) -> Iterator[None]:
    """Have torch.load read tensors, numbers and names inside and call nothing, whatever its caller asks for.

    Of DeepSpeed's own classes three are known: what a stage, a loss scale and a place in a shard are.
    """
    known: list[Any] = []
    if of_deepspeed:
        from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
        from deepspeed.runtime.zero.config import ZeroStageEnum
        from deepspeed.utils.tensor_fragment import fragment_address

        known = [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]
    before = os.environ.get(FORCE)
    os.environ[FORCE] = "1"
    try:
        with safe_globals(known):
            yield
    finally:
        os.environ.pop(FORCE) if before is None else os.environ.update({FORCE: before})


FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def _fault(step: int, error: Exception, folder: Path) -> CheckpointError:
    reason = checkpoints.reason_of(error, folder)
    return CheckpointError(
        f"the checkpoint of step {step} could not be written: {reason}; those before it are kept. Make room, or set "
        "checkpoints.keep lower, and resume"
    )
