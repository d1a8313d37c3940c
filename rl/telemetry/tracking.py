"""The wandb run beside metrics.jsonl: fed from its own thread, so that it may be slow or fail unnoticed by the run."""

import math
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rl.endings import first_line
from rl.telemetry.head_tracker import Snapshot
from rl.telemetry.heads import table
from rl.telemetry.heatmap import draw

Mode = Literal["auto", "online", "offline", "disabled"]
FINISH_SECONDS = 60.0


def choose_mode(mode: Mode) -> Literal["online", "offline", "disabled"]:
    """Resolve `auto`: WANDB_MODE where it is set, else online with an API key (environment or netrc), else offline."""
    if mode != "auto":
        return mode
    asked = os.environ.get("WANDB_MODE", "")
    if asked in ("online", "offline", "disabled"):
        return asked  # pyright: ignore
    import wandb
    from requests.utils import get_netrc_auth

    return "online" if os.environ.get("WANDB_API_KEY") or get_netrc_auth(wandb.Settings().base_url) else "offline"


class Tracker:
    """Send rows to wandb in order. Every failure is one warning through `say`, after which nothing more is sent."""

    def __init__(
        self,
        *,
        mode: Mode,
        project: str,
        entity: str | None,
        name: str,
        folder: Path,
        config: Mapping[str, Any],
        run_id: str,
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._rows: queue.SimpleQueue[tuple[Mapping[str, Any], Sequence[Snapshot]] | None] = queue.SimpleQueue()
        self._mode = choose_mode(mode)
        self._folder = folder
        self._thread: threading.Thread | None = None
        if self._mode != "disabled":
            arguments = {
                "mode": self._mode,
                "project": project,
                "entity": entity,
                "name": name,
                "dir": str(folder),
                "config": dict(config),
                "id": run_id,
                "resume": "allow",
            }
            self._thread = threading.Thread(target=self._send, args=(arguments,), name="wandb", daemon=True)
            self._thread.start()

    def log(self, row: Mapping[str, Any], snapshots: Sequence[Snapshot] = ()) -> None:
        """Queue a step's row, with maps and tables of the heads measured since the last; returns at once."""
        if self._thread is not None:
            self._rows.put((row, snapshots))

    def finish(self, seconds: float = FINISH_SECONDS) -> None:
        """Wait for the queue to empty, but no longer than seconds."""
        if self._thread is None:
            return
        self._rows.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._say(f"wandb has not finished in {seconds:.0f} s and is left behind; metrics.jsonl holds everything")
        self._thread = None

    def _send(self, arguments: dict[str, Any]) -> None:
        try:
            import wandb

            settings = wandb.Settings(silent=True, console="off", init_timeout=30.0)
            run = wandb.init(settings=settings, **arguments)
            self._say(
                f"wandb: {run.url}"
                if self._mode == "online"
                else f"wandb: offline, `wandb sync {Path(run.dir).parent}` uploads it"
            )
            while (queued := self._rows.get()) is not None:
                row, snapshots = queued
                run.log({**row, **{key: shown for one in snapshots for key, shown in _heads_of(one).items()}})
            run.finish()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a watcher must not cost the run
            reason = first_line(error)
            self._say(f"wandb failed and is off for the rest of the run: {reason}")


def _heads_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as wandb shows it: images with a slider over steps, and a table."""
    import wandb

    at = f"step {snapshot.step}"
    maps = {
        f"heads/{snapshot.source}_{score}/map": wandb.Image(draw(layers, score), caption=at)
        for score, layers in snapshot.scores.items()
        if any(math.isfinite(value) for row in layers.values() for value in row)
    }
    columns, rows = table(snapshot)
    return {**maps, f"heads/{snapshot.source}/table": wandb.Table(columns=list(columns), data=list(rows))}
