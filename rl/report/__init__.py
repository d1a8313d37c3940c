"""Turn a run directory into one self-contained HTML page."""

from pathlib import Path

from rl.report.page import render
from rl.report.rundata import read_run
from rl.telemetry.jsonl import write_atomically

__all__ = ["write_report"]


def write_report(run_dir: Path) -> Path:
    """Write run_dir/report.html in one step, so that a reader never sees half a page, and return its path."""
    path = run_dir / "report.html"
    page = render(read_run(run_dir)).encode("utf-8", "replace").decode()  # names may hold halves of surrogate pairs
    write_atomically(path, page)
    return path
