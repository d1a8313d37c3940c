"""Rollouts as plain JSON data, for the checkpoint of a run that is stopped between generation and its last use."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from rewards import Sample, Score
from rl.rollouts import Rollout


def rollouts_to_json(rollouts: Sequence[Rollout]) -> list[dict]:
    """Return rollouts as JSON data, without the facts of their tasks: they have been scored."""
    return [asdict(replace(rollout, sample=replace(rollout.sample, facts={}))) for rollout in rollouts]


def rollouts_from_json(rows: Sequence[dict]) -> list[Rollout]:
    """Return the rollouts that rollouts_to_json wrote."""
    return [
        Rollout(row["prompt"], tuple(row["token_ids"]), Sample(**row["sample"]), Score(**row["score"])) for row in rows
    ]
