"""Run the real command, as a person would."""

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

from rl.telemetry.jsonl import read_rows

SECONDS = 1000
RHYTHM = Path(sys.executable).with_name("rhythm")
LATE = {"PYTHONPATH", "RHYTHM_JUDGE_KEY"}  # what is read once a command runs, and not as it imports

FEW_ROWS = "stages.sft.data.size=64"  # of the quickstart's 22,400, which take longer to prepare than two steps take

# A run of seconds: every part of the quickstart, a few steps of each.
SHORT = (
    "stages.sft.trainer.steps=4",
    FEW_ROWS,
    "stages.sft.trainer.batch=16",
    "stages.sft.trainer.micro_batch=16",
    "stages.grpo.trainer.steps=6",
    "stages.grpo.trainer.prompts_per_step=4",
    "stages.grpo.trainer.num_generations=4",
    "stages.grpo.trainer.micro_batch=8",
    "stages.grpo.trainer.max_completion_length=24",
    "credit.horizon=[2, 20]",
    "credit.reselect_every=2",
    "checkpoints.every=2",
    "data.size=64",
    "telemetry.samples.every=1",
)


def overrides(*changes: str) -> list[str]:
    """Return `--set` options for every change."""
    return [word for change in changes for word in ("--set", change)]


class Warm:
    """A process that has imported what `rhythm` imports, of which every command is a fork: see reference/warm.py."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._place = str(Path(self._folder.name) / "socket")
        self._environment = _settings()
        script = Path(__file__).with_name("warm.py")
        self._process = subprocess.Popen([sys.executable, script, self._place], stdout=subprocess.PIPE, text=True)
        atexit.register(self._process.kill)
        assert self._process.stdout is not None and "ready\n" in iter(self._process.stdout.readline, "")

    def fits(self) -> bool:
        """Say whether a command would find the settings that the process was started with."""
        return self._environment == _settings() and self._process.poll() is None

    def run(self, words: list[str], cwd: Path | None, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command, with more in its environment, and wait."""
        request = {"words": words, "cwd": str(cwd or Path.cwd()), "environment": {**os.environ, **more}}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(SECONDS)
            wire.connect(self._place)
            socket.send_fds(wire, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
            code = int(wire.recv(16))
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode("utf-8", "replace"))
        return subprocess.CompletedProcess([str(RHYTHM), *words], code, *said)


def _settings() -> dict[str, str]:
    """Return the environment but for what pytest and the libraries that it imports write there themselves."""
    own = ("PYTEST_", "KMP_", "TORCHINDUCTOR_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


@functools.cache
def _warm() -> Warm:
    return Warm()


def rhythm(*words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `rhythm` with words and wait."""
    if environment.keys() <= LATE and _warm().fits():
        return _warm().run([*map(str, words)], cwd, environment)
    return subprocess.run(
        [RHYTHM, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def start(*words: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start `rhythm` with words in the background."""
    return subprocess.Popen(
        [RHYTHM, *map(str, words)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_rows(path: Path, count: int, process: subprocess.Popen) -> None:
    """Wait until path, which need not be there yet, has count rows, for as long as process runs."""
    while len(read_rows(path)) < count:
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"ended with {process.returncode} too soon: {process.communicate()[0]}")


def without_times(rows: list[dict]) -> list[dict]:
    """Drop what a clock says from metrics."""
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def assert_same_run(left: Path, right: Path) -> None:
    """Hold two runs to be the same to the bit: what they wrote down but for times, and the policy they ended with."""
    assert without_times(read_rows(left / "metrics.jsonl")) == without_times(read_rows(right / "metrics.jsonl"))
    for name in ("samples.jsonl", "heads.jsonl"):
        assert read_rows(left / name) == read_rows(right / name)
    final = Path("checkpoints") / "grpo" / "final" / "model.safetensors"
    ours, theirs = load_file(left / final), load_file(right / final)
    assert all(ours[name].equal(theirs[name]) for name in theirs)
