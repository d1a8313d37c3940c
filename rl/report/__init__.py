"""Turn a run directory into one self-contained HTML page."""

from collections.abc import Callable
from pathlib import Path

from rl.report.page import render
from rl.report.rundata import read_run
from rl.telemetry.jsonl import write_atomically

__all__ = ["write_report"]


def write_report(run_dir: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """Write run_dir/report.html in one step, so that a reader never sees half a page, and return its path.

    `say` is told what the run's files lack.
    """
    path, run = run_dir / "report.html", read_run(run_dir)
    for note in run.notes.values():
        say(note)
    page = render(run).encode("utf-8", "replace").decode()  # names may hold halves of surrogate pairs
    write_atomically(path, page)
    return path
