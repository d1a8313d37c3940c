"""The folder that an analysis goes to."""

from pathlib import Path

from rl.analysis.traces import AnalysisError


def claim(folder: Path) -> None:
    """Make a folder, which may be there if it is empty, as what was broken off leaves it. Raises AnalysisError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise AnalysisError(f"{folder}: {error.strerror}; give --out another folder") from None
    if taken:
        raise AnalysisError(f"{folder}: is there already and is never overwritten; give --out another folder")
