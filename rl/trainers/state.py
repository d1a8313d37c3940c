"""What a checkpoint keeps beside TRL's: rollouts that are still to be trained on, and a frozen judge's weights."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from safetensors.torch import load_file, save_file

from rewards import Sample, Score
from rl.judge import FrozenCopy, FrozenJudge, Judge
from rl.rollouts import Rollout


def rollouts_to_json(rollouts: Sequence[Rollout]) -> list[dict]:
    """Return rollouts as JSON data, without the facts of their tasks: they have been scored."""
    return [asdict(replace(rollout, sample=replace(rollout.sample, facts={}))) for rollout in rollouts]


def rollouts_from_json(rows: Sequence[dict]) -> list[Rollout]:
    """Return the rollouts that rollouts_to_json wrote."""
    return [
        Rollout(row["prompt"], tuple(row["token_ids"]), Sample(**row["sample"]), Score(**row["score"])) for row in rows
    ]


def save_frozen(judge: Judge | None, folder: Path, rank: int) -> None:
    """Write a frozen judge's weights: one file, or one for each rank where they hold shards."""
    copy = judge.copy if isinstance(judge, FrozenJudge) else None
    if copy is not None and (copy.is_sharded or rank == 0):
        save_file(copy.weights, _frozen_file(copy, folder, rank))


def load_frozen(judge: Judge | None, folder: Path, rank: int, step: int) -> None:
    """Read what save_frozen wrote; step is when the copy was taken."""
    copy = judge.copy if isinstance(judge, FrozenJudge) else None
    if copy is not None:
        copy.restore(load_file(_frozen_file(copy, folder, rank)), step)


def _frozen_file(copy: FrozenCopy, folder: Path, rank: int) -> Path:
    return folder / f"rhythm-frozen{f'-rank{rank}' if copy.is_sharded else ''}.safetensors"
