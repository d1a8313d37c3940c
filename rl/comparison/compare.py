"""From run directories to a page and a Markdown file that compare them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rl.comparison import page
from rl.comparison.arms import Arm, arms_of
from rl.comparison.runs import ComparisonError, read_runs
from rl.comparison.summary import stages_of
from rl.telemetry.jsonl import write_atomically


@dataclass(frozen=True)
class Comparison:
    """Hold the arms, the stages of any of them, and their tables as Markdown."""

    arms: Sequence[Arm]
    stages: Sequence[str]
    markdown: str


def compare(paths: Sequence[Path], folder: Path) -> Comparison:
    """Lay runs over each other, and write comparison.html and comparison.md to folder, in place of earlier ones.

    Raises ComparisonError and RunError, where nothing is written.
    """
    arms = arms_of(read_runs(paths))
    stages = stages_of(arms)
    told = page.markdown(stages, arms)
    drawn = page.render(stages, arms)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("comparison.md", told), ("comparison.html", drawn)):
            write_atomically(folder / name, text.encode("utf-8", "replace").decode())
    except OSError as error:
        raise ComparisonError(f"{folder}: cannot be written: {error.strerror}; give --out another folder") from None
    return Comparison(arms, stages, told)
