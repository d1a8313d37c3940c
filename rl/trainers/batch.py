"""TRL's batch of rollouts: a dict, whose prompts are padded on the left and completions on the right."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from rl.rollouts import KeptRollout, Rollout

Batch = dict[str, Any]
SEEN = ("waad", "fai", "weights", "anchors", "preplan", "values")  # what each token got, where it was measured


def sequences(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return prompts with their completions, and the mask of both."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    return ids, torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)


def tokens_of(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return prompts with their completions, the mask of both, and which (B, T) tokens the policy wrote."""
    ids, mask = sequences(batch)
    return ids, mask, response_in(mask, batch["completion_ids"].shape[1], batch.get("tool_mask"))


def without_padding(batch: Batch) -> Batch:
    """Return a micro-batch without the columns that are padding in all its rows.

    TRL pads a generation batch to its longest completion, and a micro-batch with it. Nothing reads those columns, but
    every pass works on them.
    """
    first = int(batch["prompt_mask"].any(0).int().argmax())
    width, used = batch["completion_ids"].shape[1], batch["completion_mask"].any(0).nonzero()
    last = max(int(used.max()) + 1 if len(used) else 1, min(width, 2))  # TRL takes one column for a value a sequence
    kept: Batch = {}
    for name, value in batch.items():
        if name in ("prompt_ids", "prompt_mask"):
            kept[name] = value[:, first:]
        elif isinstance(value, Tensor) and value.dim() > 1 and (value.shape[1] == width or name == "tool_mask"):
            kept[name] = value[:, :last]
        else:
            kept[name] = value
    return kept


def response_of(batch: Batch) -> Tensor:
    """Return which (B, C) tokens of its completions the policy wrote."""
    return response_in(batch["completion_mask"], batch["completion_ids"].shape[1], batch.get("tool_mask"))


def credited_of(batch: Batch) -> Tensor | None:
    """Return which (B, T) tokens credit picked out; None where it did not look."""
    if "selected" not in batch:
        return None
    return pad(batch["selected"].bool(), (batch["prompt_ids"].shape[1], 0))


def response_in(attention_mask: Tensor, completion_length: int, tool_mask: Tensor | None) -> Tensor:
    """Return which tokens the policy wrote: the last completion_length ones, without padding and a tool's answers."""
    response = attention_mask.bool().clone()
    response[:, :-completion_length] = False
    if tool_mask is not None:
        own = pad(tool_mask, (0, completion_length - tool_mask.shape[1]), value=1)
        response[:, -completion_length:] &= own.bool()
    return response


def kept_rollouts(batch: Batch, rollouts: Sequence[Rollout], count: int, group_size: int) -> list[KeptRollout]:
    """Return those of a micro-batch that are among the first `count` rollouts of their generation, in that order."""
    rows = sorted(enumerate(batch["row"].tolist()), key=lambda pair: pair[1])
    return [_kept(batch, rollouts[row], index, row // group_size) for index, row in rows if row < count]


def _kept(batch: Batch, rollout: Rollout, index: int, group: int) -> KeptRollout:
    length = len(rollout.token_ids)
    seen = {key: _whole(batch[key][index], length).tolist() if key in batch else None for key in SEEN}
    advantages = batch["unweighted"][index]
    if advantages.dim() == 0:
        return KeptRollout(rollout=rollout, group=group, advantage=advantages.item(), **seen)
    advantages = _whole(advantages, length)
    mean = advantages.mean().item()
    return KeptRollout(rollout=rollout, group=group, advantage=mean, advantages=advantages.tolist(), **seen)


def _whole(values: Tensor, length: int) -> Tensor:
    """Return a row's values for each of its tokens; 0 for those of a cut-off completion, masked and left out."""
    return pad(values[:length], (0, max(0, length - len(values))))
