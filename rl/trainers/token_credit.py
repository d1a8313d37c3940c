"""Credit in training: when heads are selected, how a probed forward pass is read, and what becomes of it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rl.attention import (
    Heads,
    Rhythm,
    RhythmReader,
    ScoreReader,
    SinkReader,
    decoder_layers,
    find_sinks,
    num_layers,
    probe,
    probed_layers,
    read,
    run,
    select,
    watch,
)
from rl.credit import Credit, Sign, Signals, normalized, signed

Reduce = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class CreditSettings:
    """Say how weights come about: `rule` of rl.credit, and what it reads, `attention`, `entropy` or `noise`.

    `layers` None probes the paper's five. `probe` says whether attention is read off the forward pass that training
    makes anyway (fused) or off one more (separate).
    """

    rule: Callable[[Signals], Credit]
    reads: frozenset[str] = frozenset({"attention"})
    sign: Sign = "both"
    normalize: bool = False
    exclude_delimiters: bool = False
    layers: Sequence[int] | None = None
    local_share: float = 0.3
    global_share: float = 0.3
    window: int = 10
    horizon: tuple[int, int] = (10, 100)
    reselect_every: int = 25
    calibration: int = 16
    exclude_sinks: bool = False
    separate: bool = False


@dataclass(frozen=True)
class Place:
    """Say which of all ranks' rows this rank holds: rows of equal number, in the order of the ranks."""

    rank: int = 0
    num_ranks: int = 1
    reduce: Reduce = field(default=lambda tensor: tensor)
    """Sums a tensor over ranks."""


@dataclass
class Reading:
    """Hold what one probed pass said of its tokens: what was read, None for what was not asked for."""

    rhythm: Rhythm | None = None
    sinks: Bool[Tensor, "B T"] | None = None
    entropy: Float[Tensor, "B C"] | None = None

    def of_last(self, length: int) -> "Reading":
        """Return what was read of the last tokens, which are the completions that entropies are given for."""
        rhythm = self.rhythm and Rhythm(self.rhythm.waad[:, -length:], self.rhythm.fai[:, -length:])
        return Reading(rhythm, None if self.sinks is None else self.sinks[:, -length:], self.entropy)


class TokenCredit:
    """Select heads on a calibration batch, read passes, and turn what they say into weights."""

    def __init__(
        self, settings: CreditSettings, model: nn.Module, delimiters: Bool[Tensor, "V"], seed: int, place: Place
    ) -> None:
        self.settings, self.delimiters, self.seed, self.place = settings, delimiters, seed, place
        self.layers = tuple(sorted(set(settings.layers or probed_layers(num_layers(model)))))
        self.heads: Heads | None = None
        self.selected_at: int | None = None

    def reads(self, what: str) -> bool:
        """Say whether the rule needs `attention`, `entropy` or `noise`."""
        return what in self.settings.reads

    @property
    def fused(self) -> bool:
        """Say whether the rule reads a pass that training makes anyway."""
        return self.reads("entropy") or (self.reads("attention") and not self.settings.separate)

    def is_due(self, step: int) -> bool:
        """Say whether heads must be selected before step trains."""
        return self.reads("attention") and (
            self.selected_at is None or step - self.selected_at >= self.settings.reselect_every
        )

    def select_heads(
        self,
        step: int,
        model: nn.Module,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Int[Tensor, "B T"],
        response: Bool[Tensor, "B T"],
        micro_batch: int,
    ) -> Mapping[int, list[float]]:
        """Choose heads by mean distance over the calibration rows, whatever the micro-batch or rank.

        Returns the distances of the probed layers; none where no response was left to measure them on (all of them
        masked as cut off, say), and heads are due again in the next step. Raises ProbeError where a layer cannot be
        probed.
        """
        rows, counted = self._calibration(len(input_ids))
        ids, mask = input_ids[rows], attention_mask[rows]
        response = response[rows] & counted.to(response.device).unsqueeze(-1)
        last = max(self.layers)
        sinks = (
            find_sinks(model, ids, mask, last_layer=last, micro_batch=micro_batch)
            if self.settings.exclude_sinks
            else None
        )
        reader = ScoreReader(response, excluded=sinks, whole=False)
        read(model, ids, mask, self.layers, reader, micro_batch)
        sums = {layer: self.place.reduce(total) for layer, total in reader.distance_sums().items()}
        distances = {layer: (total[0] / total[1].clamp_min(1e-9)).tolist() for layer, total in sums.items()}
        found = all(bool((total[1] > 0).all()) for total in sums.values())
        if found or self.heads is None:
            self.heads = select(distances, self.settings.local_share, self.settings.global_share)
        self.selected_at = step if found else None
        return distances if found else {}

    def _calibration(self, num_rows: int) -> tuple[list[int], Bool[Tensor, "R"]]:
        """Return this rank's calibration rows, equally many on every rank, and which of them count.

        They lie evenly spaced among all ranks' rows; a rank with fewer than another goes through its first row once
        more, for nothing, since all ranks must make the same passes.
        """
        total = num_rows * self.place.num_ranks
        count = min(self.settings.calibration, total)
        chosen = [divmod(index * total // count, num_rows) for index in range(count)]
        rows = [row for rank, row in chosen if rank == self.place.rank]
        spare = max(Counter(rank for rank, _ in chosen).values()) - len(rows)
        return rows + [0] * spare, torch.tensor([True] * len(rows) + [False] * spare)

    @contextmanager
    def probe(
        self, model: nn.Module, attention_mask: Int[Tensor, "B T"], response: Bool[Tensor, "B T"]
    ) -> Iterator[Reading]:
        """Fill the reading that is yielded, but for its entropy, from the passes inside the context."""
        reading, sinks = Reading(), None
        if not self.reads("attention"):
            yield reading
            return
        assert self.heads is not None, "heads are selected before the first probed pass"
        reader = RhythmReader(self.heads, response, self.settings.window, self.settings.horizon)
        with ExitStack() as stack:
            stack.enter_context(probe(model, self.heads.layers, reader))
            if self.settings.exclude_sinks:
                sinks = SinkReader(attention_mask.bool())
                stack.enter_context(watch(decoder_layers(model)[: max(self.layers) + 1], sinks))
            yield reading
        reading.rhythm = reader.rhythm()
        reading.sinks = None if sinks is None else sinks.sinks()

    def read_separately(
        self,
        model: nn.Module,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Int[Tensor, "B T"],
        response: Bool[Tensor, "B T"],
        micro_batch: int,
    ) -> Reading:
        """Read a pass of its own, which ends after the last layer that is read."""
        with self.probe(model, attention_mask, response) as reading:
            run(model, input_ids, attention_mask, max(self.layers), micro_batch)
        return reading

    def noise(self, generation: int, num_rows: int, length: int) -> Float[Tensor, "B C"]:
        """Return uniform noise that depends on the seed, the generation, the row among all ranks' and the token."""
        first = self.place.rank * num_rows
        return torch.stack([_noise(f"{self.seed}/{generation}/{first + row}", length) for row in range(num_rows)])

    def weigh(
        self,
        completion_ids: Int[Tensor, "B C"],
        response: Bool[Tensor, "B C"],
        advantages: Float[Tensor, "B"] | Float[Tensor, "B C"],
        reading: Reading,
        noise: Float[Tensor, "B C"] | None,
    ) -> Credit:
        """Return the credit of completions, of which reading holds nothing else."""
        eligible = torch.ones_like(response)
        if self.settings.exclude_delimiters:
            eligible &= ~self.is_delimiter(completion_ids)
        if reading.sinks is not None:
            eligible &= ~reading.sinks
        signals = Signals(
            response=response,
            rhythm=reading.rhythm,
            horizon=self.settings.horizon,
            entropy=reading.entropy,
            noise=noise,
            eligible=eligible,
        )
        credit = self.settings.rule(signals)
        credit = normalized(credit, response) if self.settings.normalize else credit
        return signed(credit, response, advantages, self.settings.sign)

    def is_delimiter(self, ids: Int[Tensor, "B C"]) -> Bool[Tensor, "B C"]:
        """Return which tokens are delimiters; a token beyond the tokenizer's vocabulary is none."""
        self.delimiters = self.delimiters.to(ids.device)
        return self.delimiters[ids.clamp_max(len(self.delimiters) - 1)] & (ids < len(self.delimiters))

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
        self.selected_at = state["selected_at"]


def _noise(name: str, length: int) -> Float[Tensor, "C"]:
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest())
    return torch.rand(length, generator=torch.Generator().manual_seed(seed))
