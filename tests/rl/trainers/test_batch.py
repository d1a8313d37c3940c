"""A micro-batch without what is padding in all its rows: every token that counts stays where it was."""

import torch

from rl.trainers.batch import without_padding

MICRO = {
    "prompt_ids": torch.tensor([[0, 0, 5, 6], [0, 7, 8, 9]]),
    "prompt_mask": torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]]),
    "completion_ids": torch.tensor([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]]),
    "completion_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]),
    "advantages": torch.tensor([0.5, -0.5]),
    "unweighted": torch.arange(10.0).view(2, 5),
    "tool_mask": torch.tensor([[1, 0, 1, 1], [1, 1, 1, 1]]),
    "row": torch.tensor([3, 1]),
    "num_items_in_batch": torch.tensor(7.0),
}


def test_columns_that_are_padding_in_all_rows_go() -> None:
    found = without_padding(MICRO)
    assert found["prompt_ids"].tolist() == [[0, 5, 6], [7, 8, 9]] and found["prompt_mask"].tolist() == [
        [0, 1, 1],
        [1] * 3,
    ]
    assert found["completion_ids"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert found["completion_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert found["unweighted"].tolist() == [[0.0, 1.0, 2.0], [5.0, 6.0, 7.0]]
    assert found["tool_mask"].tolist() == [[1, 0, 1], [1, 1, 1]]
    for name in ("advantages", "row", "num_items_in_batch"):
        assert found[name] is MICRO[name]


def test_where_nothing_counts_two_columns_stay() -> None:
    """As where all completions were cut off, and those are masked; TRL takes one column for a value a sequence."""
    found = without_padding({**MICRO, "completion_mask": torch.zeros(2, 5, dtype=torch.long)})
    assert found["completion_ids"].shape == (2, 2)
