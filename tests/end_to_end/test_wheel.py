"""The wheel carries recipes/ and slurm/, and works from another folder."""

import os
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
    assert {"rl/shipped/recipes/quickstart.yaml", "rl/shipped/slurm/train.sbatch.j2", "rl/report/page.html"} <= set(names)
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


def test_it_trains_from_another_folder_through_the_batch_script(installed: Path, tmp_path: Path) -> None:
    """The sbatch script is a shell script: it starts a run, and finds it begun the second time."""
    script = installed / "rl" / "shipped" / "slurm" / "train.sbatch"
    short = overrides(*SHORT, "stages.grpo.trainer.steps=1", "telemetry.wandb.mode=disabled")
    first = run(installed, tmp_path, "bash", script, "quickstart", "here/run", *short)
    assert first.returncode == 0, first.stdout + first.stderr
    rows = read_rows(tmp_path / "here" / "run" / "metrics.jsonl")
    assert len(rows) == 5
    second = run(installed, tmp_path, "bash", script, "quickstart", "here/run", *short)
    assert second.returncode == 0, second.stdout + second.stderr
    assert read_rows(tmp_path / "here" / "run" / "metrics.jsonl") == rows
    usage = run(installed, tmp_path, "bash", script)
    assert usage.returncode != 0 and "usage: sbatch train.sbatch RECIPE RUN_DIR" in usage.stderr
