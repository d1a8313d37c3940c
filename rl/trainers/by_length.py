"""An order of chance in which the rows of a step are sorted by length, so that little of a micro-batch is padding."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler


class ByLength(Sampler[int]):
    """Yield rows shuffled, each epoch in its own way, and then sorted by length within every step's `batch`.

    A step has the rows that chance gives it, so that its gradient is that of any order. Batches of like lengths, as
    transformers' group_by_length makes them, save more padding and weigh the tokens of short rows more: the loss is a
    mean over a step's tokens. `epoch` is asked when an order begins: what transformers and accelerate tell samplers
    does not reach through the wrappers that several processes and a run taken up have.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rows = torch.randperm(len(self.lengths), generator=torch.Generator().manual_seed(self.seed + self.epoch()))
        for step in rows.split(self.batch):
            yield from sorted(step.tolist(), key=self.lengths.__getitem__)
