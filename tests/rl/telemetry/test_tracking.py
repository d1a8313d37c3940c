"""The real wandb client: offline files with our keys, and failures that cost a warning."""

import math
import socket
from pathlib import Path

import pytest
from PIL import Image
from reference.wandb_file import history

from rl.dashboard.panels import SCORES, SECTIONS
from rl.telemetry.head_tracker import Snapshot
from rl.telemetry.tracking import Tracker, choose_mode

ROWS = [
    {"stage": "grpo", "step": step, "reward/total/mean": step / 10, "policy/entropy/mean": None} for step in range(3)
]


def track(folder: Path, mode: str, said: list[str]) -> Tracker:
    return Tracker(
        mode=mode,
        project="rhythm",
        entity=None,
        name="run",
        folder=folder,
        config={"seed": 0},
        run_id="abc123",
        say=said.append,
    )


def test_offline_files_hold_every_row_under_our_keys(tmp_path: Path) -> None:
    said: list[str] = []
    tracker = track(tmp_path, "offline", said)
    for row in ROWS:
        tracker.log(row)
    tracker.finish()
    assert len(said) == 1 and "wandb sync" in said[0], said
    rows = history(tmp_path)
    assert [row["reward/total/mean"] for row in rows] == [0.0, 0.1, 0.2]
    assert all(set(ROWS[0]) <= set(row) for row in rows)


def test_heads_go_with_the_step_that_measured_them(tmp_path: Path) -> None:
    """Under the keys that the dashboard's maps and tables name; what could not be measured has no map."""
    said: list[str] = []
    tracker, scores = track(tmp_path, "offline", said), {score: {0: [0.5, 1.0], 3: [math.nan, 2.0]} for score in SCORES}
    snapshots = [Snapshot(1, "probe", {**scores, "drift": scores["sink"]}, 0.1)]
    snapshots.append(
        Snapshot(1, "rollouts", {**scores, "credit": scores["sink"], "receiver": {0: [math.nan, math.nan]}}, 0.1)
    )
    tracker.log(ROWS[0])
    tracker.log(ROWS[1], snapshots)
    tracker.finish()
    assert len(said) == 1, said
    first, second = history(tmp_path)
    panels = [panel for panel in SECTIONS["heads"] if panel.draws in ("maps", "table")]
    named = {key for panel in panels for key in panel.keys}
    shown = {key for key in named if any(own == key or own.startswith(f"{key}/") for own in second)}
    assert named - shown == {"heads/rollouts_receiver/map"} and second["reward/total/mean"] == 0.1
    assert not any(key.startswith("heads") for key in first)
    pictures = sorted(tmp_path.glob("wandb/offline-run-*/files/media/images/heads/probe_distance/*.png"))
    with Image.open(pictures[0]) as picture:
        assert len(picture.getcolors(1 << 20)) > 5


def test_a_server_that_is_not_there_costs_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    said: list[str] = []
    tracker = track(tmp_path, "online", said)
    for row in ROWS:
        tracker.log(row)
    tracker.finish(seconds=90)
    assert len([line for line in said if line.startswith("wandb")]) == 1
    assert "off for the rest of the run" in said[0] or "left behind" in said[0]


def test_disabled_starts_nothing(tmp_path: Path) -> None:
    tracker = track(tmp_path, "disabled", [])
    tracker.log(ROWS[0])
    tracker.finish()
    assert list(tmp_path.iterdir()) == []


def test_auto_goes_online_only_with_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert choose_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert choose_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode("auto") == "disabled"
    assert choose_mode("offline") == "offline"
