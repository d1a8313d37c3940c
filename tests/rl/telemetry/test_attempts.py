"""Attempts are numbered, their ends are written down, and two crashes at one place are enough."""

from pathlib import Path

import pytest

from rl.telemetry import attempts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    attempts.create(tmp_path / "environment.json", "run", {"started": "1"})
    return tmp_path / "environment.json"


def row(step: int) -> dict:
    return {"stage": "grpo", "step": step}


def test_attempts_are_listed_with_their_ends(path: Path) -> None:
    attempts.end(path, "interrupted", "SIGUSR1", row(3))
    attempts.begin(path, {"started": "2"}, row(3))
    attempts.begin(path, {"started": "3"}, row(5))
    first, second, third = attempts.read(path)
    assert first["ended"] == {"how": "interrupted", "reason": "SIGUSR1", "stage": "grpo", "step": 3}
    assert second["ended"] == {"how": "died", "reason": "", "stage": "grpo", "step": 5}  # without a word
    assert "ended" not in third


def test_a_run_that_was_only_launched_has_no_attempt_yet(tmp_path: Path) -> None:
    attempts.create(tmp_path / "environment.json", "run", None)
    assert attempts.read(tmp_path / "environment.json") == []
    attempts.begin(tmp_path / "environment.json", {"started": "1"}, None)
    assert [one["started"] for one in attempts.read(tmp_path / "environment.json")] == ["1"]


@pytest.mark.parametrize(
    ("first", "second", "stops"),
    [
        (("failed", 7), ("failed", 7), True),
        (("died", 7), ("failed", 7), True),
        (("failed", 7), ("failed", 8), False),
        (("interrupted", 7), ("failed", 7), False),
        (("failed", 7), ("interrupted", 7), False),
    ],
)
def test_two_crashes_at_one_step_are_enough(path: Path, first: tuple, second: tuple, stops: bool) -> None:
    attempts.end(path, first[0], "", row(first[1]))
    attempts.begin(path, {"started": "2"}, row(first[1]))
    assert attempts.reason_to_stop(path) is None
    attempts.end(path, second[0], "out of memory", row(second[1]))
    reason = attempts.reason_to_stop(path)
    assert (reason is not None) is stops
    assert reason is None or "behind step 7 of grpo (out of memory)" in reason


def test_a_file_that_is_none_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"environment.json is no JSON: .*; start another run"):
        attempts.read(tmp_path / "environment.json")
