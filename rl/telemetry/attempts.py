"""The attempts of a run, in environment.json: where each ran, how it ended, and whether another makes sense.

The first attempt's facts stand at the top of the file, those of later ones in the list `attempts`.
"""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rl.telemetry.jsonl import write_atomically

How = Literal["finished", "interrupted", "alarmed", "failed", "died", "refused"]
CRASHES = ("failed", "died")


def create(path: Path, run: str, environment: Mapping[str, Any] | None) -> None:
    """Write the file of a run, with its first attempt or, where there is none yet, without."""
    _write(path, {"id": run, **(environment or {})})


def begin(path: Path, environment: Mapping[str, Any], last: Mapping[str, Any] | None) -> None:
    """Add an attempt; `last` is the row of metrics that the one before it ended with. Raises OSError, ValueError."""
    known: dict[str, Any] = _read(path) if path.is_file() else {"id": secrets.token_hex(6)}  # lost, but the run is not
    before = _attempts(known)
    if before:
        before[-1].setdefault("ended", _ending("died", "", last))  # without a word
        known["attempts"] = [*(known.get("attempts") or []), dict(environment)]
    else:
        known |= environment
    _write(path, known)


def end(path: Path, how: How, reason: str, last: Mapping[str, Any] | None) -> None:
    """Write down how the present attempt ended. Raises OSError, ValueError."""
    known = _read(path)
    _attempts(known)[-1]["ended"] = _ending(how, reason, last)
    _write(path, known)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the attempts, the first one first. Raises OSError, ValueError."""
    return _attempts(_read(path))


def reason_to_stop(path: Path) -> str | None:
    """Say why an attempt like those before makes no sense: the last two crashed behind the same step."""
    ended = [attempt["ended"] for attempt in read(path) if "ended" in attempt][-2:]
    crashed = [one for one in ended if one.get("how") in CRASHES]
    if len(crashed) < 2 or any(crashed[0].get(key) != crashed[1].get(key) for key in ("stage", "step")):
        return None
    stage, step = crashed[1].get("stage"), crashed[1].get("step")
    where = f"behind step {step} of {stage}" if stage else "before the first step"
    why = crashed[1].get("reason") or "killed from outside, such as for its memory"
    return f"the last two attempts both ended {where} ({why}), so another is not made by itself; train.log has more"


def _ending(how: How, reason: str, last: Mapping[str, Any] | None) -> dict[str, Any]:
    row = last or {}
    return {"how": how, "reason": reason, "stage": row.get("stage"), "step": row.get("step")}


def _attempts(known: dict[str, Any]) -> list[dict[str, Any]]:
    return [known, *(known.get("attempts") or [])] if "started" in known else []


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is no JSON: {error}; start another run") from None
    if not (isinstance(known, dict) and isinstance(known.get("id"), str)):
        raise ValueError(f"{path.name} should be an object with the run's id; start another run")
    listed = known.get("attempts") or []
    if not isinstance(listed, list) or not all(map(_is_attempt, [known, *listed])):
        raise ValueError(f"{path.name}: attempts are damaged; mend them, or start another run")
    return known


def _is_attempt(one: object) -> bool:
    objects = [one.get("ended"), one.get("hardware")] if isinstance(one, dict) else [0]
    return all(value is None or isinstance(value, dict) for value in objects)


def _write(path: Path, known: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(known, indent=2) + "\n")
