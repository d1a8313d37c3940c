"""Credit in training: when heads are selected, and how a probed forward pass becomes weights."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor, nn

from rl.attention import Heads, Rhythm, RhythmReader, distance_sums, num_layers, probe, probed_layers, select
from rl.credit import Credit


@dataclass(frozen=True)
class CreditSettings:
    """Say how weights come from attention; `layers` None probes the paper's five. See rl.credit for `weigh`."""

    weigh: Callable[[Rhythm, Bool[Tensor, "B T"]], Credit]
    layers: Sequence[int] | None = None
    local_share: float = 0.3
    global_share: float = 0.3
    window: int = 10
    horizon: tuple[int, int] = (10, 100)
    reselect_every: int = 25


class AttentionCredit:
    """Select heads on a calibration batch, then read weights off forward passes that run anyway."""

    def __init__(self, settings: CreditSettings, model: nn.Module) -> None:
        self.settings = settings
        self.layers = tuple(settings.layers or probed_layers(num_layers(model)))
        self.heads: Heads | None = None
        self.selected_at = -1

    def is_due(self, step: int) -> bool:
        """Say whether heads must be selected before step trains."""
        return self.heads is None or step - self.selected_at >= self.settings.reselect_every

    def select_heads(
        self,
        step: int,
        model: nn.Module,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Int[Tensor, "B T"],
        response: Bool[Tensor, "B T"],
        micro_batch: int,
        reduce: Callable[[Tensor], Tensor],
    ) -> Mapping[int, list[float]]:
        """Choose heads by mean distance over the whole batch, whatever the micro-batch or rank.

        `reduce` sums a tensor over ranks. Returns every layer's distances.
        """
        sums = distance_sums(model, input_ids, attention_mask, response, micro_batch=micro_batch)
        tokens = reduce(response.sum().double()).clamp_min(1)
        distances = {layer: (reduce(total) / tokens).tolist() for layer, total in sums.items()}
        probed = {layer: distances[layer] for layer in self.layers}
        self.heads = select(probed, self.settings.local_share, self.settings.global_share)
        self.selected_at = step
        return distances

    def reader(self, response: Bool[Tensor, "B T"]) -> RhythmReader:
        """Return a reader for sequences whose response rows are given."""
        assert self.heads is not None, "heads are selected before the first probed pass"
        return RhythmReader(self.heads, response, self.settings.window, self.settings.horizon)

    def probe(self, model: nn.Module, reader: RhythmReader) -> AbstractContextManager[None]:
        """Feed reader from the forward passes inside the context."""
        return probe(model, reader.heads.layers, reader)

    def state(self) -> dict:
        """Return what a resumed run needs, as plain JSON data."""
        heads = None if self.heads is None else {"local": self.heads.local, "global": self.heads.global_}
        return {"heads": heads, "selected_at": self.selected_at}

    def restore(self, state: Mapping) -> None:
        """Take up a state that `state` returned."""
        heads = state["heads"]
        if heads is not None:
            local, global_ = (tuple((int(a), int(b)) for a, b in heads[key]) for key in ("local", "global"))
            self.heads = Heads(local=local, global_=global_)
        self.selected_at = int(state["selected_at"])


def last_tokens(rhythm: Rhythm, length: int) -> Rhythm:
    """Return the rhythm of the last length tokens, which hold the completions."""
    return Rhythm(rhythm.waad[:, -length:], rhythm.fai[:, -length:])
