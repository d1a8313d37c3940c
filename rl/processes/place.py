"""Which of a run's processes this is, as torchrun, accelerate or Slurm say it in the environment."""

import os
import socket
import subprocess
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

FIRST_PORT, NUM_PORTS = 20_000, 20_000  # where the first process listens, by the number of a Slurm job


class PlaceError(ValueError):
    """Say what a launcher left out or got wrong."""


@dataclass(frozen=True)
class Place:
    """Hold a process's number among all of the run's, and among those of its node."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Say whether this process writes the run directory."""
        return self.rank == 0


OF_ACCELERATE = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_MIXED_PRECISION")


def leave_settings_of_accelerate(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Take what `accelerate launch` says of the training out of the environment, since the recipe says it.

    Returns the names of what would have had an effect.
    """
    said = {name: environment.pop(name, "") for name in OF_ACCELERATE}
    return [name for name, value in said.items() if value.lower() not in ("", "no", "false", "0")]


def find_place(environment: MutableMapping[str, str] = os.environ) -> Place:
    """Return where this process stands; one that nobody launched stands alone.

    What Slurm's srun says becomes what torch reads: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT. Raises
    PlaceError where that is incomplete.
    """
    if "RANK" not in environment and _is_of_srun(environment):
        environment.update(_from_slurm(environment))
    if "RANK" not in environment:
        return Place()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if not environment.get(name)]
    if missing and environment.get("WORLD_SIZE") != "1":
        raise PlaceError(f"a launcher set RANK, but not {', '.join(missing)}; start rhythm with torchrun or srun")
    try:
        place = Place(*(int(environment.get(name) or 0) for name in names[:3]))
    except ValueError:
        raise PlaceError("RANK, WORLD_SIZE and LOCAL_RANK should be whole numbers; start with torchrun") from None
    if not 0 <= place.rank < place.world:
        raise PlaceError(f"RANK {place.rank} is not below WORLD_SIZE {place.world}")
    return place


def _is_of_srun(environment: Mapping[str, str]) -> bool:
    """Say whether srun started this process as one of several; the batch script itself is a step of its own."""
    step = environment.get("SLURM_STEP_ID", "")
    return step.isdigit() and environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1")) != "1"


def _from_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    try:
        job, rank, local = (int(environment[f"SLURM_{name}"]) for name in ("JOB_ID", "PROCID", "LOCALID"))
        world = int(environment.get("SLURM_STEP_NUM_TASKS") or environment["SLURM_NTASKS"])
    except (KeyError, ValueError) as error:
        raise PlaceError(f"srun left its environment incomplete: {error}; start rhythm with torchrun") from None
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", "")
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": str(local),
        "MASTER_ADDR": environment.get("MASTER_ADDR") or _first_address(nodes),
        "MASTER_PORT": environment.get("MASTER_PORT") or str(FIRST_PORT + job % NUM_PORTS),
    }


def _first_address(nodes: str) -> str:
    """Return the address of the first node of a Slurm node list: as its name resolves, or as Slurm knows it."""
    try:
        names = _ask_slurm("hostnames", nodes).split()
        first = names[0]
        try:
            socket.getaddrinfo(first, None)
        except OSError:
            facts = _ask_slurm("node", first, "-o").split()
            return next(fact.removeprefix("NodeAddr=") for fact in facts if fact.startswith("NodeAddr="))
        return first
    except (OSError, subprocess.SubprocessError, LookupError, StopIteration) as error:
        raise PlaceError(f"the first node of {nodes!r} cannot be found out ({error}); export MASTER_ADDR") from None


def _ask_slurm(*words: str) -> str:
    done = subprocess.run(["scontrol", "show", *words], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
