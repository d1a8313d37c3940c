"""What is kept of a probed pass: WAAD and FAI per token, or the scores of every head."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from rl.attention import bands
from rl.attention.heads import Heads
from rl.attention.layer import Attention
from rl.attention.moments import received, row_lse, row_moments, sink_mass
from rl.attention.rhythm import Rhythm
from rl.attention.structure import ProbeError

Span = tuple[int, int]
SENTENCE_GAP = 4  # receiver heads: a sentence is heard from the fourth sentence after it on (arXiv 2506.19143)
LEAST_HEARD = 5  # sentences that a kurtosis is of, at least
MASS_ERROR = 1e-2  # rows of attention sum to 1 within this, or the kernel attends to other keys than thought


def response_columns(response: Bool[Tensor, "B T"]) -> slice:
    """Return the columns that hold any response: statistics of other rows are never read."""
    columns = response.any(0).nonzero()
    return slice(int(columns[0]), int(columns[-1]) + 1) if len(columns) else slice(0, 0)


class RhythmReader:
    """Average WAAD over the local and FAI over the global heads, for sequences that come in one or more passes."""

    def __init__(self, heads: Heads, response: Bool[Tensor, "B T"], window: int, horizon: tuple[int, int]) -> None:
        self.heads, self.response, self.window, self.horizon = heads, response, window, horizon
        self._waad = torch.zeros(response.shape, device=response.device)
        self._fai = torch.zeros_like(self._waad)
        self._sequences, self._columns = slice(0, 0), slice(0, 0)

    def start(self, num_sequences: int) -> None:
        """Move on to the next num_sequences sequences."""
        self._sequences = slice(self._sequences.stop, self._sequences.stop + num_sequences)
        self._columns = response_columns(self.response[self._sequences])

    def read(self, layer: int, attention: Attention) -> None:
        """Add one layer's chosen heads."""
        local = [head for at, head in self.heads.local if at == layer]
        wide = [head for at, head in self.heads.global_ if at == layer]
        rows = self._columns
        if rows.start == rows.stop:
            return
        heads = local + wide
        lse = row_lse(attention.of(heads), rows) if attention.lse is None else attention.lse[:, heads]
        n = len(local)
        if local:
            near = bands.waad(attention, local, lse[:, :n], rows, self.window)
            self._waad[self._sequences] += near.sum(1) / len(self.heads.local)
        if wide:
            response = self.response[self._sequences]
            far = bands.fai(attention, wide, lse[:, n:], rows, response, self.horizon)
            self._fai[self._sequences] += far.sum(1) / len(self.heads.global_)

    def rhythm(self) -> Rhythm:
        """Return the averages, 0 outside the response."""
        assert self._sequences.stop == len(self.response), "every sequence must have passed exactly once"
        waad, fai = (values.masked_fill(~self.response, 0.0) for values in (self._waad, self._fai))
        return Rhythm(waad=waad, fai=fai)


@dataclass(frozen=True)
class HeadScores:
    """Hold one number per head of a layer; receiver, retrieval and credit are None where nothing was given for them.

    distance: mean over response rows of sum_s A[t, s] (t - s), tokens (arXiv 2510.13554); entropy: mean row entropy,
    nats; sink: mean attention to the sequence's first token; receiver: Fisher kurtosis over sentences of the attention
    that they receive from sentences at least 4 later, mean over sequences (arXiv 2506.19143), nan where no sequence has
    enough sentences; retrieval: share of the needle's tokens that the head's strongest key was when that very token was
    written next (arXiv 2404.15574), each needle token counted once [ours], mean over sequences; credit: of the
    attention to the response, the share that goes to tokens that credit picked out [ours].
    """

    distance: Float[Tensor, "H"]
    entropy: Float[Tensor, "H"]
    sink: Float[Tensor, "H"]
    receiver: Float[Tensor, "H"] | None = None
    retrieval: Float[Tensor, "H"] | None = None
    credit: Float[Tensor, "H"] | None = None


class ScoreReader:
    """Sum what HeadScores averages, over every head and the response rows of sequences in one or more passes.

    `excluded` keys are left out of mean distances, whose rows then count by the attention they have left [ours]. The
    needle is a span of each sequence, or numbers its tokens with the place of the first one that each stands for, -1
    for none: those of one number count once. `credited` the tokens that credit picked out. Without
    `whole`, nothing but the distances is worked out.
    """

    def __init__(
        self,
        response: Bool[Tensor, "B T"],
        *,
        excluded: Bool[Tensor, "B T"] | None = None,
        sentences: Sequence[Sequence[Span]] | None = None,
        needle: Sequence[Span] | Int[Tensor, "B T"] | None = None,
        input_ids: Int[Tensor, "B T"] | None = None,
        credited: Bool[Tensor, "B T"] | None = None,
        num_shown: int = 0,
        whole: bool = True,
    ) -> None:
        self.response, self.excluded, self.input_ids, self.whole = response, excluded, input_ids, whole
        self.sentence = None if sentences is None else sentence_numbers(sentences, response)
        self.needle = needle if needle is None or isinstance(needle, Tensor) else _marks(needle, response)
        self.credited = credited
        self.sums: dict[int, dict[str, Float[Tensor, "H"]]] = {}
        self.shown: dict[int, tuple[Int[Tensor, "H R"], Float[Tensor, "H R"]]] = {}
        """By layer, for every head and the first num_shown rows of the first sequence, its strongest key's place and
        attention."""
        self.first_row, self._num_shown = 0, num_shown
        self._sequences, self._columns = slice(0, 0), slice(0, 0)

    def start(self, num_sequences: int) -> None:
        """Move on to the next num_sequences sequences."""
        self._sequences = slice(self._sequences.stop, self._sequences.stop + num_sequences)
        heard = self._of(self.response)
        if self.needle is not None:
            heard = heard | _before(heard)
        if self.sentence is not None:
            heard = heard | (self._of(self.sentence) >= 0)
        self._columns = response_columns(heard)

    def _of(self, x: Tensor) -> Tensor:
        return x[self._sequences]

    def read(self, layer: int, attention: Attention) -> None:
        """Add one layer's heads. Raises ProbeError where the kernel attended to other keys than the probe sees."""
        rows, response = self._columns, self._of(self.response)[:, self._columns].unsqueeze(1)
        lse = row_lse(attention, rows) if attention.lse is None else attention.lse
        excluded = None if self.excluded is None else self._of(self.excluded)
        spans = None
        if self.credited is not None:
            spans = torch.stack([self._of(self.credited & self.response), self._of(self.response)], 1)
        moments = row_moments(attention, lse, rows, excluded, spans, whole=self.whole)
        if self._num_shown and self._sequences.start == 0:
            shown = slice(0, self._num_shown)
            self.shown[layer] = moments.peak[0, :, shown].clone(), moments.top[0, :, shown].clone()
            self.first_row = rows.start
        sums = attention.row_sums(lse[:, :, rows], range(lse.shape[1]))
        error = (moments.mass - sums).abs().masked_fill(~response, 0.0).amax() if response.numel() else torch.zeros(())
        error = float(error)
        if not math.isfinite(error):
            raise ProbeError(f"layer {layer} gives attention that is no finite number: its weights are damaged")
        if error > MASS_ERROR:
            raise ProbeError(f"layer {layer} attends to other keys than a causal mask and padding leave: not probeable")
        found = {
            "distance": moments.distance,
            "kept": torch.ones_like(moments.kept) if self.excluded is None else moments.kept,
            "rows": torch.ones_like(moments.kept),
        }
        if self.whole:
            found |= {"entropy": moments.entropy, "sink": sink_mass(attention, lse, rows)}
        if spans is not None:
            found |= {"credited": moments.spans[:, :, 0], "own": moments.spans[:, :, 1]}
        found = {
            name: values.masked_fill(~response, 0.0).sum((0, 2), dtype=torch.float64) for name, values in found.items()
        }
        if self.sentence is not None:
            peaks = self._kurtosis(attention, lse, rows)
            found |= {"receiver": peaks.nansum(0), "receiver_count": peaks.isfinite().double().sum(0)}
        if self.needle is not None:
            copied = self._copied(moments.peak, rows)
            found |= {"retrieval": copied.nansum(0), "retrieval_count": copied.isfinite().double().sum(0)}
        known = self.sums.setdefault(layer, {})
        for name, value in found.items():
            known[name] = known[name] + value if name in known else value

    def _kurtosis(self, attention: Attention, lse: Float[Tensor, "B H T"], rows: slice) -> Float[Tensor, "B H"]:
        """Return the kurtosis of what sentences receive, nan for a sequence where it has no spread."""
        assert self.sentence is not None
        numbers = self._of(self.sentence)
        if numbers.max() < SENTENCE_GAP + LEAST_HEARD - 1:
            return lse.new_full(lse.shape[:2], torch.nan, dtype=torch.float64)
        return kurtosis(received(attention, lse, rows, numbers, SENTENCE_GAP))

    def _copied(self, peak: Int[Tensor, "B H R"], rows: slice) -> Float[Tensor, "B H"]:
        """Return the share of each needle that heads looked at while the model wrote the same token next.

        nan where a sequence has no needle.
        """
        assert self.needle is not None and self.input_ids is not None
        ids, number = self._of(self.input_ids), self._of(self.needle)
        needle = number >= 0
        following = F.pad(ids[:, 1:], (0, 1))[:, rows].unsqueeze(1)
        writes = _before(self._of(self.response))[:, rows].unsqueeze(1)
        heads = peak.shape[1]
        wide = (len(ids), heads, ids.shape[1])
        seen = ids.unsqueeze(1).expand(wide).gather(-1, peak)
        hit = (seen == following) & writes & needle.unsqueeze(1).expand(wide).gather(-1, peak)
        stands_for = number.clamp_min(0).unsqueeze(1).expand(wide).gather(-1, peak)
        marks = torch.zeros(wide, dtype=torch.int32, device=ids.device).scatter_add_(-1, stands_for, hit.int())
        return (marks > 0).sum(-1).double() / needle.logical_and(_is_first(number)).sum(-1, keepdim=True)

    def distance_sums(self) -> dict[int, Float[Tensor, "2 H"]]:
        """Return by layer the sums of distances, in tokens, and of what they are to be divided by."""
        return {layer: torch.stack([sums["distance"], sums["kept"]]) for layer, sums in sorted(self.sums.items())}

    def scores(self) -> dict[int, HeadScores]:
        """Return every layer's scores, nan where there was nothing to average."""
        return scores_of([self])


def scores_of(readers: Sequence[ScoreReader]) -> dict[int, HeadScores]:
    """Return the scores of every layer over all that some readers have read, nan where there was nothing to average."""
    assert all(reader.whole for reader in readers), "only distances were worked out"
    scores = {}
    for layer in sorted(readers[0].sums):
        names = readers[0].sums[layer]
        sums = {name: torch.stack([reader.sums[layer][name] for reader in readers]).sum(0) for name in names}
        means = {name: sums[name] / sums[f"{name}_count"] for name in ("receiver", "retrieval") if name in sums}
        if "credited" in sums:
            means["credit"] = sums["credited"] / sums["own"]
        means |= {name: sums[name] / sums["rows"] for name in ("entropy", "sink")}
        means["distance"] = sums["distance"] / sums["kept"]
        scores[layer] = HeadScores(**{name: mean.float() for name, mean in means.items()})
    return scores


def _before(response: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Return the rows that write a response token: each predicts the token after it."""
    return F.pad(response[:, 1:], (0, 1))


def sentence_numbers(sentences: Sequence[Sequence[Span]], response: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """Return the number of each token's sentence, -1 for none. Raises ValueError."""
    if len(sentences) != len(response):
        raise ValueError(f"sentences: {len(sentences)} lists of spans for {len(response)} sequences")
    numbers = torch.full(response.shape, -1, dtype=torch.long)
    for row, spans in enumerate(sentences):
        for number, (start, stop) in enumerate(spans):
            _check_span("sentences", (start, stop), response.shape[1])
            if (numbers[row, start:stop] >= 0).any():
                raise ValueError(f"sentences: ({start}, {stop}) of sequence {row} overlaps the one before")
            numbers[row, start:stop] = number
    return numbers.to(response.device)


def _is_first(number: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Return which places stand for themselves."""
    return number == torch.arange(number.shape[1], device=number.device)


def _marks(needle: Sequence[Span], response: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """Return each needle token's own place, -1 elsewhere. Raises ValueError."""
    if len(needle) != len(response):
        raise ValueError(f"needle: {len(needle)} spans for {len(response)} sequences")
    marks = torch.full(response.shape, -1, dtype=torch.long)
    for row, (start, stop) in enumerate(needle):
        _check_span("needle", (start, stop), response.shape[1])
        marks[row, start:stop] = torch.arange(start, stop)
    return marks.to(response.device)


def _check_span(what: str, pair: Span, length: int) -> None:
    if not 0 <= pair[0] < pair[1] <= length:
        raise ValueError(f"{what}: {tuple(pair)} is no span of tokens in 0..{length}; write (start, stop)")


def kurtosis(values: Float[Tensor, "B H S"]) -> Float[Tensor, "B H"]:
    """Return the Fisher kurtosis m4 / m2^2 - 3 over S, leaving out nan; nan where there is no spread.

    nan of fewer than five values too: of two or three it is the same whatever they are [ours].
    """
    values = values.double()
    values = values.masked_fill((values.isfinite().sum(-1, keepdim=True) < LEAST_HEARD), torch.nan)
    centred = values - values.nanmean(-1, keepdim=True)
    return (centred**4).nanmean(-1) / (centred**2).nanmean(-1) ** 2 - 3
