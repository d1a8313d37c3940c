"""What hangs, dies or is no number: every process says where it stood, ends, and the run can be taken up."""

import os
import signal
import time
from pathlib import Path

from reference import small
from reference.command import rhythm, start, wait_for_rows
from safetensors.torch import load_file

from rl.checkpoints import newest
from rl.telemetry.jsonl import read_rows

TWO = ("cluster.processes=2", "stages.grpo.trainer.micro_batch=4")
HANGS = "rewards.parts.length={reward: 'reference.dying:Hangs', options: {after: 60, rank: %d}}"
TESTS = str(small.TESTS)
SECONDS = 8  # without a step


def test_a_reward_that_hangs(tmp_path: Path) -> None:
    path = tmp_path / "run"
    limit = f"guard.step_minutes={SECONDS / 60}"
    began = time.monotonic()
    done = rhythm(*small.words(path, limit, HANGS % 0), PYTHONPATH=TESTS)
    assert done.returncode == 1 and time.monotonic() - began < 60
    assert "no step has ended for 8 s (guard.step_minutes); where every thread stood is in" in done.stdout
    stacks = (path / "logs" / "stacks-attempt1-process0.txt").read_text(encoding="utf-8")
    assert "in __call__" in stacks and "dying.py" in stacks
    assert newest(path / "checkpoints" / "grpo", print) is not None


def test_a_process_that_hangs_ends_both(tmp_path: Path) -> None:
    path = tmp_path / "run"
    words = small.words(path, *TWO, f"guard.step_minutes={SECONDS / 60}", HANGS % 1)
    done = rhythm(*words, PYTHONPATH=TESTS)
    assert done.returncode == 1, done.stderr
    stacks = [(path / "logs" / f"stacks-attempt1-process{rank}.txt").read_text(encoding="utf-8") for rank in (0, 1)]
    assert "dying.py" in stacks[1] and "dying.py" not in stacks[0]
    assert all("no step has ended" in one for one in stacks)


def test_a_process_that_dies_ends_the_other(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = start(*small.words(path, *TWO, "stages.grpo.trainer.steps=100000"), PYTHONPATH=TESTS)
    wait_for_rows(path / "metrics.jsonl", small.SFT_STEPS + 4, process)
    ranks = {_rank(number): number for number in _children(process.pid)}
    os.kill(ranks["1"], signal.SIGKILL)
    died = time.monotonic()
    out, _ = process.communicate(timeout=30)
    print(f"ended after {time.monotonic() - died:.1f} s")
    assert process.returncode != 0 and "process 1 has died" in out, out
    assert "Traceback" not in out
    assert newest(path / "checkpoints" / "grpo", print) is not None


def _children(parent: int) -> list[int]:
    return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()))


def _rank(number: int) -> str:
    lines = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
    return next((line[5:].decode() for line in lines if line.startswith(b"RANK=")), "")


def test_gradients_that_are_no_numbers_are_skipped_and_then_end_the_run(tmp_path: Path) -> None:
    """A learning rate at which the first step throws the policy away: what comes after is no number."""
    path = tmp_path / "run"
    changes = ("stages.sft.trainer.learning_rate=1e30", "stages.sft.trainer.warmup_steps=0", "guard.skips=2")
    done = rhythm(
        *small.words(path, *changes, "stages.sft.trainer.steps=20", "stages.sft.data.size=320"), PYTHONPATH=TESTS
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "3 steps in a row were skipped" in done.stderr and "Traceback" not in done.stderr
    rows = read_rows(path / "metrics.jsonl")
    assert rows[-1]["optimizer/skipped/count"] == 3 and rows[-1]["optimizer/grad_norm/last"] is None
    saved = newest(path / "checkpoints" / "sft", print)
    assert saved is not None and all(
        weight.isfinite().all() for weight in load_file(saved / "model.safetensors").values()
    )
