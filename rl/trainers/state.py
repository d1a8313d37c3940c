"""What a checkpoint keeps beside TRL's: rollouts that are still to be trained on, and a frozen judge's weights."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

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


def save_batches(batches: Sequence[Mapping[str, Tensor]], path: Path) -> None:
    """Write micro-batches."""
    save_file({f"{i}.{key}": value.clone() for i, batch in enumerate(batches) for key, value in batch.items()}, path)


def load_batches(path: Path, device: torch.device) -> list[dict[str, Tensor]]:
    """Read what save_batches wrote, in its order."""
    batches: dict[int, dict[str, Tensor]] = {}
    for name, value in load_file(path).items():
        index, _, key = name.partition(".")
        batches.setdefault(int(index), {})[key] = value.to(device)
    return [batches[index] for index in sorted(batches)]


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
