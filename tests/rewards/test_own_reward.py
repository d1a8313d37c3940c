"""A reward of one's own, as docs/own.md has it: what stands there is imported, checked and trained with."""

from pathlib import Path

import pytest
from reference.command import FEW_ROWS, overrides, rhythm
from reference.pages import ROOT, write_files

from rewards import Rubric, Sample
from rl.scoring import REMEDY
from rl.telemetry.jsonl import read_rows

SMALL = Path(__file__).resolve().parents[1] / "reference" / "tiny.yaml"


ODD = """
class Two:
    def __init__(self, words=0): ...
    def __call__(self, sample, more): ...

class Later:
    def __init__(self, words=0): ...
    async def __call__(self, sample): ...

class Needy:
    needs = 5
    def __init__(self, words=0): ...
    def __call__(self, sample): ...

class Leaver:
    def __init__(self, words=0): raise SystemExit(3)
    def __call__(self, sample): ...
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the modules and the recipes of the documentation."""
    write_files(ROOT / "docs" / "own.md", tmp_path)
    return tmp_path


def test_it_judges(folder: Path) -> None:
    space: dict = {"__name__": "brevity"}
    exec((folder / "brevity.py").read_text(encoding="utf-8"), space)  # noqa: S102 - our own documentation
    reward = space["Brevity"](words=4)
    assert reward(Sample("q", "a", "one two three four")) == 1.0
    assert reward(Sample("q", "a", "one two three four " * 2)) == 0.5
    assert reward(Sample("q", "a", "x", truncated=True)) is None
    Rubric({"mine": reward}, {"mine": 1.0})


def test_it_trains_through_the_command(folder: Path) -> None:
    done = rhythm("train", "brief.yaml", "--with", SMALL, "--run-dir", "run", *overrides(FEW_ROWS), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row for row in read_rows(folder / "run" / "metrics.jsonl") if row["stage"] == "grpo"]
    assert all("reward/brevity/mean" in row or row["reward/brevity/unjudged"] == 1.0 for row in rows)
    samples = list(read_rows(folder / "run" / "samples.jsonl"))
    assert samples and all("brevity" in row["reward"] for row in samples)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("reward='brevity:Brief'", "rewards.parts.brevity.reward: brevity:Brief: the module brevity has no Brief"),
        ("reward='gone:Brevity'", "gone:Brevity: cannot be imported: ModuleNotFoundError: No module named 'gone'"),
        ("reward='broken:Brevity'", "broken:Brevity: cannot be imported: ZeroDivisionError: division by zero"),
        ("reward='brevity:dataclass'", "brevity:dataclass: should be a class whose instances are called with a sample"),
        ("reward='leaving:Reward'", "leaving:Reward: cannot be imported: SystemExit: 0"),
        ("reward='odd:Two'", "should be called with a sample alone: missing a required argument: 'more'"),
        ("reward='odd:Later'", "is asynchronous; a reward is called and gives a number"),
        ("reward='odd:Needy'", "`needs` should be a set of effort, tokens, monitor, not 5"),
        ("reward='odd:Leaver'", "SystemExit: 3"),
        ("options.word=3", "rewards.parts.brevity.options: got an unexpected keyword argument 'word'"),
        ("role=boss", "rewards.parts.brevity.role: should be 'add', 'correct', 'gate', 'bonus' or 'constraint'"),
        ("role=gate", "needs a part with the role bonus; there are answer: correct, format: add, brevity: gate"),
    ],
)
def test_faults_are_said_when_the_recipe_is_checked(folder: Path, change: str, fault: str) -> None:
    (folder / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    (folder / "leaving.py").write_text("raise SystemExit(0)\n", encoding="utf-8")
    (folder / "odd.py").write_text(ODD, encoding="utf-8")
    done = rhythm("check", "brief.yaml", *overrides(f"rewards.parts.brevity.{change}"), cwd=folder)
    assert done.returncode == 2 and fault in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_one_that_raises_stops_the_run_or_is_counted(folder: Path) -> None:
    (folder / "raising.py").write_text(
        "class Raising:\n    def __call__(self, sample):\n        raise OSError('no dictionary')\n", encoding="utf-8"
    )
    mine = "rewards.parts.mine={reward: 'raising:Raising'}"
    words = ["train", "brief.yaml", "--with", SMALL, *overrides(FEW_ROWS)]
    stopped = rhythm(*words, "--run-dir", "a", *overrides(mine), cwd=folder)
    assert (
        stopped.returncode == 1
        and f"reward 'mine' failed: OSError: no dictionary; {REMEDY}; the sample: question" in stopped.stderr
    )
    counted = rhythm(*words, "--run-dir", "b", *overrides(mine, "rewards.on_error=none"), cwd=folder)
    assert counted.returncode == 0, counted.stderr
    rows = [row for row in read_rows(folder / "b" / "metrics.jsonl") if row["stage"] == "grpo"]
    assert [row["reward/errors/count"] for row in rows] == [8, 8]
