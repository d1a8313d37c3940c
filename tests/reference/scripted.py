"""A model that says what it is told to, text by text, in the order in which it is asked."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rl import tiny
from rl.policy import Policy


class Script:
    """Stand where a model would; a batch takes as many texts as it has rows."""

    def __init__(self, policy: Policy, texts: Sequence[str]) -> None:
        self.config, self.device = policy.model.config, policy.model.device
        self.generation_config = policy.model.generation_config
        self.rows = [[*policy.ids(text), policy.ends[0]] for text in texts]
        self.pad = int(policy.tokenizer.pad_token_id)  # pyright: ignore

    def generate(self, input_ids: Tensor, **_: Any) -> Tensor:
        """Return the prompts with the next texts behind them."""
        own, self.rows = self.rows[: len(input_ids)], self.rows[len(input_ids) :]
        longest = max(map(len, own))
        rows = [[*row, *[self.pad] * (longest - len(row))] for row in own]
        return torch.cat([input_ids, torch.tensor(rows)], 1)


def tiny_policy(name: str = "here", seed: int = 0) -> Policy:
    """Return an untrained policy."""
    return Policy(name, tiny.build_model(seed), tiny.build_tokenizer(), None, None, 0.0)


def scripted(texts: Sequence[str], name: str = "here") -> Policy:
    """Return a policy that says these texts."""
    policy = tiny_policy(name)
    policy.model = Script(policy, texts)
    return policy
