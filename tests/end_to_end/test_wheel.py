"""The wheel carries recipes/ and slurm/, and works from another folder."""

import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from reference.command import SHORT, overrides

from rl.telemetry.jsonl import read_rows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("rhythm_rl-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"rl/shipped/recipes/quickstart.yaml", "rl/shipped/slurm/train.sbatch.j2", "rl/report/page.html"} <= set(
        names
    )
    assert not [name for name in names if name.startswith(("tests", "runs", ".venv"))]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder / "site", wheel]
    subprocess.run(install, check=True, capture_output=True)
    return folder / "site"


def run(installed: Path, cwd: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed), "PATH": f"{installed / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [*map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300
    )


def test_shipped_recipes_are_found_by_name(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "rhythm", "recipes")
    assert done.returncode == 0 and str(installed / "rl" / "shipped" / "recipes" / "quickstart.yaml") in done.stdout
    assert run(installed, tmp_path, "rhythm", "check", "quickstart").stdout.startswith("name: quickstart")


def test_it_trains_from_another_folder_as_it_would_in_a_job(installed: Path, tmp_path: Path) -> None:
    """The batch script that is rendered says which program trains; that one does, from any folder."""
    script = run(installed, tmp_path, "rhythm", "launch", "quickstart", "--dry-run", "--run-dir", "here/run").stdout
    (line,) = (line for line in script.splitlines() if line.startswith('"${train[@]}"'))
    program = shlex.split(line.split(" train --resume")[0])[1:]
    short = overrides(*SHORT, "stages.grpo.trainer.steps=1", "telemetry.wandb.mode=disabled")
    first = run(installed, tmp_path, *program, "train", "quickstart", "--run-dir", "here/run", *short)
    assert first.returncode == 0, first.stdout + first.stderr
    rows = read_rows(tmp_path / "here" / "run" / "metrics.jsonl")
    assert len(rows) == 5
    second = run(installed, tmp_path, *program, "train", "--resume", "--run-dir", "here/run")
    assert second.returncode == 0, second.stdout + second.stderr
    assert read_rows(tmp_path / "here" / "run" / "metrics.jsonl") == rows
