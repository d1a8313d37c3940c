"""A checkpoint is there whole or not at all, and a damaged one is told from a whole one."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.checkpoints import DAMAGED, MANIFEST, SAVING, facts_of, fault_of, newest, reason_of, rotate, seal, step_of

FILES = {"model.safetensors": b"\x00" * 1000, "optimizer.pt": b"abc", "global_step2/shard.pt": b"shard" * 99}


def write(stage: Path, step: int, files: dict[str, bytes] = FILES) -> Path:
    """Write a checkpoint as a trainer does, and seal it."""
    written = stage / SAVING / f"checkpoint-{step}"
    for name, content in files.items():
        (written / name).parent.mkdir(parents=True, exist_ok=True)
        (written / name).write_bytes(content)
    return seal(written, {"step": step, "processes": 2})


def test_a_sealed_checkpoint_is_whole(tmp_path: Path) -> None:
    sealed = write(tmp_path, 4)
    assert sealed == tmp_path / "checkpoint-4" and not list((tmp_path / SAVING).iterdir())
    assert fault_of(sealed) is None
    assert facts_of(sealed) == {"step": 4, "processes": 2}
    entry = json.loads((sealed / MANIFEST).read_text(encoding="utf-8"))["files"]["optimizer.pt"]
    # of FIPS 180-2, its first example
    assert entry == {"bytes": 3, "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}


@settings(deadline=None, derandomize=True, max_examples=40)
@given(name=st.sampled_from(sorted(FILES)), place=st.integers(0, 2**16), bit=st.integers(0, 7))
def test_any_flipped_bit_is_seen(tmp_path_factory: pytest.TempPathFactory, name: str, place: int, bit: int) -> None:
    sealed = write(tmp_path_factory.mktemp("stage"), 1)
    content = bytearray((sealed / name).read_bytes())
    content[place % len(content)] ^= 1 << bit
    (sealed / name).write_bytes(content)
    assert fault_of(sealed) == f"{Path(name).name} is not what was written"


def test_what_is_cut_off_or_gone_is_named(tmp_path: Path) -> None:
    sealed = write(tmp_path, 1)
    os.truncate(sealed / "model.safetensors", 10)
    assert fault_of(sealed) == "model.safetensors has 10 bytes of 1000"
    (sealed / "model.safetensors").unlink()
    assert fault_of(sealed) == "model.safetensors is missing"
    (sealed / MANIFEST).write_text("[]", encoding="utf-8")
    assert fault_of(sealed) == f"{MANIFEST} is missing or damaged"


def test_the_newest_whole_one_is_found_by_its_step(tmp_path: Path) -> None:
    for step in (9, 50, 100):
        write(tmp_path, step)
    os.utime(tmp_path / "checkpoint-100", (0, 0))
    (tmp_path / "checkpoint-100" / "optimizer.pt").unlink()
    (tmp_path / SAVING / "checkpoint-150").mkdir(parents=True)
    said: list[str] = []
    assert newest(tmp_path, said.append) == tmp_path / "checkpoint-50"
    assert len(said) == 1 and "optimizer.pt is missing" in said[0]
    assert (tmp_path / ("checkpoint-100" + DAMAGED)).is_dir() and not (tmp_path / SAVING).exists()
    assert newest(tmp_path / "nothing", said.append) is None


def test_only_the_oldest_are_rotated_away(tmp_path: Path) -> None:
    for step in (2, 10, 4):
        write(tmp_path, step)
    rotate(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-4"]
    assert step_of(Path("final")) == -1


def test_a_full_disk_is_called_one(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")
    assert reason_of(full, tmp_path) == f"no space left on the disk of {tmp_path}"
    assert reason_of(RuntimeError("Error: I/O (os error 28)"), tmp_path) == f"no space left on the disk of {tmp_path}"
    assert reason_of(ValueError("shape\nmore"), tmp_path) == "shape"
