"""An order in which the rows of a batch have like lengths, so that little of it is padding."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

SORTED_TOGETHER = 50  # batches: more would save little padding, and leave less to chance


class ByLength(Sampler[int]):
    """Yield rows sorted into batches, and the batches in an order of chance; each epoch has its own.

    transformers' LengthGroupedSampler leaves the batches sorted as well: fifty of them go from long rows to short.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next order is of: transformers does, also where a run is taken up."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        chance = torch.Generator().manual_seed(self.seed + self.epoch)
        rows = torch.randperm(len(self.lengths), generator=chance).tolist()
        size = self.batch * SORTED_TOGETHER
        batches = []
        for start in range(0, len(rows), size):
            alike = sorted(rows[start : start + size], key=self.lengths.__getitem__)
            batches += [alike[place : place + self.batch] for place in range(0, len(alike), self.batch)]
        whole = [batch for batch in batches if len(batch) == self.batch]  # the others last, lest they shift all behind
        for place in torch.randperm(len(whole), generator=chance).tolist():
            yield from whole[place]
        for batch in batches:
            if len(batch) < self.batch:
                yield from batch
