"""The processes of a run, watched: none waits for one that is gone, and none goes on in silence."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rl.endings import first_line
from rl.processes.group import Group
from rl.processes.liveness import Liveness
from rl.processes.watchdog import Watchdog


class Company:
    """The group of a run's processes, with what watches over them."""

    def __init__(self, group: Group, watchdog: Watchdog, liveness: Liveness) -> None:
        self.group, self.watchdog, self._liveness = group, watchdog, liveness

    def fail(self, error: BaseException) -> None:
        """Tell the other processes that this one ends, and why, unless they are being told of it anyway."""
        if not self.is_shared(error):
            self._liveness.fail(first_line(error))

    def is_shared(self, error: BaseException) -> bool:
        """Say whether all processes end with an error, or with what it is to them."""
        return error is self.group.told

    def loss(self) -> str | None:
        """Return which process was lost and why, where that is what an error came from; None where it is not."""
        return self._liveness.wait_for_loss()


@contextmanager
def watched(
    group: Group, seconds: float, say: Callable[[str], None], calm: tuple[type[BaseException], ...]
) -> Iterator[Company]:
    """Watch over a group inside; `calm` are the exceptions that all processes end with together."""
    liveness = Liveness(group)
    watchdog = Watchdog(seconds, say=say, tell=liveness.fail)
    liveness.on_loss = watchdog.end
    with watchdog, liveness:
        company = Company(group, watchdog, liveness)
        try:
            yield company
        except (*calm, SystemExit):
            raise
        except BaseException as error:  # passed on, once the others have heard of it
            company.fail(error)
            raise


def stacks_file(run: Path, attempt: int, rank: int) -> Path:
    """Return where a process of a run writes where it stood."""
    return run / "logs" / f"stacks-attempt{attempt}-process{rank}.txt"
