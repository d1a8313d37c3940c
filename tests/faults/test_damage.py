"""Checkpoints that are damaged, a disk that is full or not to be written, a clock set back: said, and nothing lost."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from reference import small
from reference.command import assert_same_run, rhythm

from rl.checkpoints import DAMAGED, SAVING, newest, seal, step_of
from rl.telemetry.jsonl import read_rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.train(tmp_path_factory.mktemp("whole") / "run")


def resume(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return rhythm("train", "--resume", "--run-dir", path, PYTHONPATH=str(small.TESTS), **environment)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "truncated weights": ("model.safetensors", truncate, "model.safetensors has"),
    "a flipped bit": ("optimizer.pt", flip_a_bit, "optimizer.pt is not what was written"),
    "a missing file": ("rhythm-rank0.json", Path.unlink, "rhythm-rank0.json is missing"),
    "a torn manifest": ("manifest.json", truncate, "manifest.json is missing or damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(whole: Path, tmp_path: Path, damage: str) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(path / "checkpoints" / "grpo" / "final")
    last = newest(path / "checkpoints" / "grpo", print)
    assert last is not None
    file, harm, said = DAMAGES[damage]
    harm(last / file)
    done = resume(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{last} is damaged ({said}" in done.stdout
    assert f"resuming grpo from checkpoint-{step_of(last) - 3}" in done.stdout
    assert last.with_name(last.name + DAMAGED).is_dir()
    assert_same_run(path, whole)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def test_a_full_disk_keeps_the_checkpoints_that_are_there(whole: Path, disk: Path) -> None:
    path = disk / "run"
    words = small.words(path, "checkpoints.keep=100")
    done = rhythm(*words, PYTHONPATH=str(small.TESTS))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no space left on the disk" in done.stderr and "Traceback" not in done.stderr, done.stderr
    saved = newest(path / "checkpoints" / "grpo", print)
    assert saved is not None
    remount(disk, "size=200m")
    done = resume(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"resuming grpo from {saved.name}" in done.stdout
    assert_same_run(path, whole)


def test_a_run_that_may_not_be_written(whole: Path, disk: Path) -> None:
    remount(disk, "size=200m")
    path = Path(shutil.copytree(whole, disk / "run"))
    shutil.rmtree(path / "checkpoints" / "grpo" / "final")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    remount(disk, "ro")
    shut = resume(path)
    assert shut.returncode == 2 and "cannot be taken up: Read-only file system" in shut.stderr, shut.stderr
    new = rhythm(*small.words(disk / "new"), PYTHONPATH=str(small.TESTS))
    assert new.returncode == 2 and "cannot write a run there: Read-only file system" in new.stderr, new.stderr
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    remount(disk, "rw")
    assert resume(path).returncode == 0
    assert_same_run(path, whole)


CLOCK = """
import time
real, calls = time.time, 0
def back():
    global calls
    calls += 1
    return real() - (86400 if calls > 200 else 0)
time.time = back
"""


def test_a_clock_that_is_set_back_a_day_changes_nothing(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
    path = tmp_path / "run"
    done = rhythm(*small.words(path), PYTHONPATH=f"{tmp_path}:{small.TESTS}")
    assert done.returncode == 0, done.stderr
    assert_same_run(path, whole)
    rows = read_rows(path / "metrics.jsonl")
    assert all(row["time/step/seconds"] >= 0 for row in rows)


def test_checkpoints_are_told_by_their_steps_and_not_by_a_clock(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(path / "checkpoints" / "grpo" / "final")
    last = newest(path / "checkpoints" / "grpo", print)
    assert last is not None
    os.utime(last, (0, 0))
    assert newest(path / "checkpoints" / "grpo", print) == last


def test_a_lock_that_a_dead_run_left_is_no_lock(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "run"))
    (path / ".lock").write_text("4242", encoding="utf-8")
    shutil.rmtree(path / "checkpoints" / "grpo" / "final")
    assert resume(path).returncode == 0
    assert_same_run(path, whole)


class Hostile:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize(("zero", "file"), [(0, "optimizer.pt"), (2, "global_step*/*_optim_states.pt")])
def test_nothing_in_a_strangers_checkpoint_is_called(tmp_path: Path, zero: int, file: str) -> None:
    """Also not where its manifest agrees."""
    path = small.train(tmp_path / "run", f"cluster.zero={zero}", "stages.grpo.trainer.steps=6")
    shutil.rmtree(path / "checkpoints" / "grpo" / "final")
    shutil.rmtree(path / "checkpoints" / "grpo" / "checkpoint-6")
    before = path / "checkpoints" / "grpo" / "checkpoint-3"
    (harmed,) = before.glob(file)
    torch.save({"optimizer_state_dict": Hostile(tmp_path / "called")}, harmed)
    (before / "manifest.json").unlink()
    written = before.parent / SAVING / before.name
    written.parent.mkdir(exist_ok=True)
    seal(before.rename(written), {"step": 3, "processes": 1})
    done = resume(path)
    assert done.returncode == 1 and "Weights only load failed" in done.stderr, done.stderr
    assert not (tmp_path / "called").exists()
    torch.load(before / harmed.relative_to(before), weights_only=False)
    assert (tmp_path / "called").exists()  # as it would have been
