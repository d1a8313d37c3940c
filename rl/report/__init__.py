"""Turn a run directory into one self-contained HTML page."""

import os
import tempfile
from pathlib import Path

from rl.report.page import render
from rl.report.rundata import read_run

__all__ = ["write_report"]


def write_report(run_dir: Path) -> Path:
    """Write run_dir/report.html in one step, so that a reader never sees half a page, and return its path."""
    target = Path(run_dir) / "report.html"
    text = render(read_run(Path(run_dir)))
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".report-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(text.encode("utf-8", "replace"))
        # mkstemp makes the file private; a report is as readable as the run directory around it.
        Path(name).chmod(target.parent.stat().st_mode & 0o666 | 0o600)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target
