"""Which layers are probed, and which of their heads are local and global."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NUM_PROBED_LAYERS = 5
Head = tuple[int, int]  # (layer, head)


@dataclass(frozen=True)
class Heads:
    """Name the heads that WAAD (local) and FAI (global) are averaged over, as (layer, head) pairs."""

    local: tuple[Head, ...]
    global_: tuple[Head, ...]

    @property
    def layers(self) -> tuple[int, ...]:
        """List the layers that hold a chosen head."""
        return tuple(sorted({layer for layer, _ in (*self.local, *self.global_)}))


def probed_layers(num_layers: int) -> tuple[int, ...]:
    """Return five layers evenly spaced over floor(L/3)..floor(2L/3), fewer where these coincide (arXiv 2510.13554)."""
    first, last = num_layers // 3, min(2 * num_layers // 3, num_layers - 1)
    steps = NUM_PROBED_LAYERS - 1
    return tuple(sorted({first + ((last - first) * i * 2 + steps) // (2 * steps) for i in range(NUM_PROBED_LAYERS)}))


def select(distances: Mapping[int, Sequence[float]], local_share: float, global_share: float) -> Heads:
    """Choose the nearest local_share and farthest global_share of heads by mean distance (arXiv 2510.13554).

    `distances` maps a layer to its heads' mean backward distance. Ranked over all given layers' heads [ours]; a
    share is rounded to the nearest count, at least one head; ties go to the lower layer, then the lower head.
    """
    ranked = sorted((distance, (layer, head)) for layer, row in distances.items() for head, distance in enumerate(row))
    heads = [head for _, head in ranked]
    num_local = max(1, round(local_share * len(heads)))
    num_global = max(1, round(global_share * len(heads)))
    return Heads(local=tuple(sorted(heads[:num_local])), global_=tuple(sorted(heads[-num_global:])))
