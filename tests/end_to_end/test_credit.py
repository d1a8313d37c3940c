"""Credit through the real command: what a recipe asks for is trained, written down, and said."""

from pathlib import Path

import pytest
from reference.command import SHORT, overrides, rhythm

from rl.telemetry.jsonl import read_rows

QUIET = ("telemetry.wandb.mode=disabled", *SHORT)


def test_a_run_with_everything(tmp_path: Path) -> None:
    """Shuffled coupled credit, read separately, without sinks and delimiters, normalised; and an alarm that warns."""
    changes = (
        "credit={kind: shuffled, horizon: [2, 20], reselect_every: 2, probe: separate, exclude_sinks: true}",
        "credit.exclude_delimiters=true",
        "credit.normalize=true",
        "alarms.length={below: 0.999, steps: 1}",
        "seed=3",
    )
    done = rhythm("train", "quickstart", "--run-dir", tmp_path / "run", *overrides(*QUIET, *changes))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row for row in read_rows(tmp_path / "run" / "metrics.jsonl") if row["stage"] == "grpo"]
    for row in rows:
        assert row["credit/weight/mean"] == pytest.approx(1, abs=1e-5)
        assert row["credit/selected/share"] > 0.1
        assert "credit/delimiter_weight/mean" in row
    assert "alarm/length/ratio" not in rows[0] and rows[1]["alarm/length/ratio"] > 0
    assert "alarm: length" in done.stdout and any(row["alarm/length/ratio"] < 0.999 for row in rows[1:])
    rows = [row for row in read_rows(tmp_path / "run" / "heads.jsonl") if row["source"] == "selection"]
    heads = {(row["step"], row["layer"]) for row in rows}
    assert heads == {(step, layer) for step in (1, 3, 5) for layer in (2, 3, 4)}
    samples = list(read_rows(tmp_path / "run" / "samples.jsonl"))
    assert all(len(row["weight"]) == len(row["tokens"]) and row["waad"] for row in samples)


def test_a_control_reads_no_attention(tmp_path: Path) -> None:
    changes = ("credit={kind: random, top_share: 0.25, gain: 2.0}", "stages.grpo.trainer.steps=2")
    kept = tuple(change for change in QUIET if not change.startswith("credit."))
    done = rhythm("train", "quickstart", "--run-dir", tmp_path / "run", *overrides(*kept, *changes))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row for row in read_rows(tmp_path / "run" / "metrics.jsonl") if row["stage"] == "grpo"]
    assert all(1.15 < row["credit/weight/mean"] < 1.3 and "attention/fai/mean" not in row for row in rows)
    assert not any(row["source"] == "selection" for row in read_rows(tmp_path / "run" / "heads.jsonl"))


def test_an_alarm_stops_a_run_that_goes_on_later(tmp_path: Path) -> None:
    """With this seed, completions of 24 tokens are cut to a mean of 23.1 in the fifth of six steps alone."""
    run = tmp_path / "run"
    changes = ("alarms.length={below: 0.97, steps: 1, action: stop}", "seed=3", "checkpoints.every=50")
    done = rhythm("train", "quickstart", "--run-dir", run, *overrides(*QUIET, *changes))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "rhythm: stopped (alarm: length" in done.stderr and "--resume" in done.stderr
    rows = list(read_rows(run / "metrics.jsonl"))
    assert rows[-1]["step"] == 5 and rows[-1]["alarm/length/ratio"] < 0.97
    assert (run / "checkpoints" / "grpo" / "checkpoint-5").is_dir()
    again = rhythm("train", "--resume", "--run-dir", run)
    assert again.returncode == 0, again.stdout + again.stderr
    assert list(read_rows(run / "metrics.jsonl"))[-1]["step"] == 6
