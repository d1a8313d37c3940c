"""How the processes of a run agree: small things, sent beside the training's own collectives, over gloo."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed import DistError, PrefixStore, Store  # pyright: ignore
from torch.distributed.rendezvous import rendezvous

from rl.endings import FAULT, first_line
from rl.processes.place import Place, free_port

T = TypeVar("T")
JOIN_MINUTES = 10.0


class MeetingError(RuntimeError):
    """Say which processes did not come, or could not: that may be otherwise in another attempt."""


class Group:
    """All processes of a run, or the one that there is."""

    def __init__(self, place: Place, control: Any = None) -> None:
        self.place = place
        self.told: BaseException | None = None  # what all processes end with, of a fault that the main one found
        self._control = control

    def broadcast(self, value: T) -> T:
        """Return the main process's value."""
        if self._control is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0, group=self._control)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Return every process's value, by rank."""
        if self._control is None:
            return [value]
        values: list[Any] = [None] * self.place.world
        dist.all_gather_object(values, value, group=self._control)
        return values

    def any(self, flag: bool) -> bool:
        """Say whether the flag is set in any process."""
        if self._control is None:
            return flag
        found = torch.tensor([flag], dtype=torch.uint8)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self._control)
        return bool(found.item())

    def on_main(self, act: Callable[[], T]) -> T:
        """Have the main process alone act, and return what came of it everywhere.

        A fault of the user's (ValueError) is raised there; the others leave with its exit code and no words.
        """
        value, fault = self._try_on_main(act)
        fine, value = self.broadcast((fault is None, value))
        return cast("T", self._settled(fine, value, fault))

    def on_main_alone(self, act: Callable[[], T]) -> T | None:
        """Have the main process alone act, and return what came of it there; None elsewhere."""
        value, fault = self._try_on_main(act)
        return self._settled(self.broadcast(fault is None), value, fault)

    def _try_on_main(self, act: Callable[[], T]) -> tuple[T | None, ValueError | None]:
        if not self.place.is_main:
            return None, None
        try:
            return act(), None
        except ValueError as error:
            if self.place.world == 1:
                raise
            return None, error

    def _settled(self, fine: bool, value: T, fault: ValueError | None) -> T:
        if not fine:
            self.told = fault or SystemExit(FAULT)
            raise self.told
        return value

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self._control is not None:
            dist.barrier(group=self._control)

    def leave(self) -> None:
        """Give up the connections to the others."""
        self._control = None
        if dist.is_initialized():
            dist.destroy_process_group()


def join(place: Place, hours: float, deepspeed: bool = False) -> Group:
    """Meet the other processes; a collective call of theirs may later take so many hours. Raises MeetingError.

    DeepSpeed wants to be told of the processes before its settings are read, also where there is only one.
    """
    if place.world == 1 and not deepspeed:
        return Group(place)
    if place.world == 1:
        alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
        os.environ.update(alone | {"MASTER_PORT": os.environ.get("MASTER_PORT") or str(free_port())})
    backend = "gloo"
    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(place.local_rank % torch.accelerator.device_count())
        backend = dist.get_default_backend_for_device(torch.accelerator.current_accelerator())  # pyright: ignore
    patience = timedelta(hours=hours)
    store = _meet(place)
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.world, timeout=patience)
    if deepspeed:
        _tell_deepspeed(backend, patience)
    return Group(place, dist.new_group(backend="gloo", timeout=patience) if place.world > 1 else None)


def _tell_deepspeed(backend: str, patience: timedelta) -> None:
    """Tell DeepSpeed of the processes that have met.

    On CPUs it would now compile an operator for tensor-parallel inference, which training never calls. A process that
    is killed meanwhile leaves a lock in ~/.cache/torch_extensions, and every later one of the machine waits for it
    without an end; so nothing is compiled.
    """
    import deepspeed

    if backend == "gloo":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False, timeout=patience)


def _meet(place: Place) -> Store:
    """Return the store that all processes have come to. Raises MeetingError where some have not."""
    patience = timedelta(minutes=JOIN_MINUTES)
    try:
        store, _, _ = next(rendezvous("env://", timeout=patience))
        store.set(f"rhythm/{place.rank}", "here")
        store.wait([f"rhythm/{rank}" for rank in range(place.world)], patience)
    except DistError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise MeetingError(
            f"process {place.rank} met not all of {place.world} processes at {where} ({first_line(error)[:200]}); see "
            "that all were started, that all can reach that address, and that nobody else listens there"
        ) from None
    return PrefixStore("group", store)
