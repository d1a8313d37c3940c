"""Meet the other processes, watch over each other, and come to an end of a kind.

RANK=... WORLD_SIZE=... python tests/reference/together.py agree|part|die|fail|fault|told
"""

import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rl.processes.company import watched
from rl.processes.group import Group, join
from rl.processes.liveness import Liveness
from rl.processes.place import find_place

SECONDS = 30.0  # that any of it may take


def lost(reason: str) -> None:
    print(f"lost: {reason}", flush=True)
    os._exit(7)


def agree(group: Group) -> None:
    """Exchange values; what the main process says is what all have."""
    rank, main = group.place.rank, group.place.is_main
    assert group.broadcast(f"from {rank}") == "from 0"
    assert group.gather(rank**2) == [0, 1, 4]
    assert group.any(rank == 2) and not group.any(False)
    assert group.on_main(lambda: f"made by {rank}") == "made by 0"
    assert group.on_main_alone(lambda: rank) == (0 if main else None)
    print("agreed")


def fault(group: Group) -> None:
    """Find what the user got wrong, in the main process."""

    def find() -> None:
        raise ValueError("the path is wrong")

    try:
        group.on_main(find)
    except ValueError as error:
        print(error)


def told(group: Group) -> None:
    """Find a fault in the main process, and be slow to leave with it: news of its end would come first."""
    with watched(group, 0.0, print, ()):
        if group.place.is_main:
            fault(group)
            raise group.told or AssertionError
        assert group.broadcast(None) == (False, None)
        for thread in [thread for thread in threading.enumerate() if thread.name == "liveness"]:
            thread.join(SECONDS)  # until the main process has said its last word
        print("calm")


def main(how: str) -> None:
    group = join(find_place(), hours=0.1)
    if how in ("agree", "fault", "told"):
        try:
            {"agree": agree, "fault": fault, "told": told}[how](group)
        finally:
            group.leave()  # as every run does: an exit with open connections may abort
        return
    liveness = Liveness(group)
    liveness.on_loss = lost
    with liveness:
        group.wait()
        if group.place.rank == 1:
            if how == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "fail":
                liveness.fail("no memory")
                sys.exit(1)
        elif how in ("die", "fail"):
            threading.Event().wait(SECONDS)
            sys.exit("nobody noticed")
    print("parted")


if __name__ == "__main__":
    main(sys.argv[1])
