"""Measure every head while a run trains: on texts that stay the same, and on what the policy writes now.

A pass of its own over a few texts, without gradients and with dropout off, through the same readers as credit: no
attention map is ever made, and training is the same to the bit with it and without.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Bool, Int
from torch import Tensor, nn
from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from rl.attention import (
    ProbeError,
    ScoreReader,
    num_layers,
    probed_layers,
    read,
    readable_layers,
    repeated,
    scores_of,
    select,
)
from rl.emergence import Scores, drift, spread
from rl.sentences import spans_of_ids
from rl.telemetry.gaze import ROWS, Gaze
from rl.telemetry.probe_set import PROBE, ProbeSet, Text, padded, rounded

DRAWS = 4  # parts of the probe set whose scores are told apart: the seeds that a head's spread is over


@dataclass(frozen=True)
class Tracking:
    """Say how often heads are measured, on how many texts, in passes of how many, and which are local and global.

    `layers` and the shares are those of the recipe's credit; None: the paper's five layers.
    """

    every: int
    sequences: int
    micro_batch: int
    layers: Sequence[int] | None
    local_share: float
    global_share: float


@dataclass(frozen=True)
class Snapshot:
    """Hold what every head had at a step, on the probe set or on rollouts, and how long measuring took, seconds.

    `gaze` is where heads look in the first text of the probe set.
    """

    step: int
    source: Literal["probe", "rollouts"]
    scores: Scores
    seconds: float
    gaze: Gaze | None = None


@dataclass
class _Rollouts:
    """Hold the rollouts of one step: ids, mask, response and credited tokens of each micro-batch."""

    step: int = -1
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = field(default_factory=list)


class HeadTracker(TrainerCallback):
    """Measure a stage's heads on the main process, and under ZeRO-3 on all, which must make the same passes.

    `texts` are the probe set's where the run has none yet; None takes the first rollouts. `saw` is told of snapshots.
    A model whose attention cannot be read is said so, once, and trains on.
    """

    def __init__(
        self,
        tracking: Tracking,
        *,
        stage: str,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[Text] | None,
        saw: Callable[[Snapshot], None] | None,
        say: Callable[[str], None],
    ) -> None:
        self.tracking, self.stage, self.path = tracking, stage, folder / PROBE
        self.tokenizer, self.texts, self.saw, self.say = tokenizer, texts, saw, say
        self.probe: ProbeSet | None = None
        self._rollouts = _Rollouts()
        self._last = 0
        self._layers: tuple[int, ...] = ()
        self._chosen: tuple[int, ...] = ()

    @property
    def measures(self) -> bool:
        """Say whether this process measures."""
        return bool(self._layers) and (self.saw is not None or is_deepspeed_zero3_enabled())

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up the run's probe set, or make it of texts that are there already."""
        model = kwargs["model"]
        self._last = state.max_steps
        with _at_rest(model):
            self._layers = readable_layers(model)
        if not self._layers:
            self.say("heads are not followed: no layer of this model goes through the attention interface")
        if not self.measures:
            return
        wanted = self.tracking.layers or probed_layers(num_layers(model))
        self._chosen = tuple(layer for layer in wanted if layer in self._layers)
        if self.path.is_file():
            self.probe = ProbeSet.load(self.path)
        elif self.texts is not None:
            with self._off_where_unreadable():
                self._establish(model, state.global_step, self.texts)

    def saw_generation(
        self,
        step: int,
        model: nn.Module,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Int[Tensor, "B T"],
        response: Bool[Tensor, "B T"],
    ) -> None:
        """Make the run's first rollouts its probe set, where it has none."""
        if not self.measures or self.probe is not None:
            return
        count = min(self.tracking.sequences, len(input_ids))
        texts = []
        for row in (index * len(input_ids) // count for index in range(count)):
            ids, mask, own = input_ids[row], attention_mask[row].bool(), response[row]
            start = int(own.int().argmax()) if own.any() else len(ids)
            texts.append(Text(ids[:start][mask[:start]].tolist(), ids[start:][mask[start:]].tolist()))
        if any(text.completion for text in texts):
            with self._off_where_unreadable():
                self._establish(model, step - 1, texts)

    def saw_micro_batch(
        self,
        step: int,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Int[Tensor, "B T"],
        response: Bool[Tensor, "B T"],
        credited: Bool[Tensor, "B T"] | None,
    ) -> None:
        """Keep the first rollouts of a step that is measured."""
        if not (self.measures and self._is_due(step)):
            return
        if self._rollouts.step != step:
            self._rollouts = _Rollouts(step)
        left = self.tracking.sequences - sum(len(part[0]) for part in self._rollouts.parts)
        if left > 0:
            kept = None if credited is None else credited[:left]
            self._rollouts.parts.append((input_ids[:left], attention_mask[:left], response[:left], kept))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure, where it is due: behind the step's update."""
        step, model = state.global_step, kwargs["model"]
        if not (self.measures and self._is_due(step)):
            return
        with self._off_where_unreadable():
            if self.probe is not None:
                self._measure_probe(model, step, self.probe)
            if self._rollouts.step == step:
                began = time.monotonic()
                parts = [self._read(model, *part) for part in self._rollouts.parts]
                self._tell(Snapshot(step, "rollouts", self._scores(parts), time.monotonic() - began))
        self._rollouts = _Rollouts()

    def _measure_probe(self, model: nn.Module, step: int, probe: ProbeSet) -> None:
        began = time.monotonic()
        reader = self._read(model, *self._batch(probe.texts, model), num_shown=ROWS)
        scores = self._scores([reader])
        scores["drift"] = drift(scores, probe.base, probe.spread)
        gaze = self._gaze(reader, probe.texts[0])
        self._tell(Snapshot(step, "probe", scores, time.monotonic() - began, gaze))

    @contextmanager
    def _off_where_unreadable(self) -> Iterator[None]:
        """Follow heads no more where their attention turns out to be another than what can be read.

        Under ZeRO-3 the run ends by it: the other processes would wait for this one's passes.
        """
        try:
            yield
        except ProbeError as error:
            if is_deepspeed_zero3_enabled():
                raise
            self._layers = ()
            self.say(f"heads are not followed any more: {error}")

    def _is_due(self, step: int) -> bool:
        return step % self.tracking.every == 0 or step == self._last

    def _tell(self, snapshot: Snapshot) -> None:
        if self.saw is not None:
            self.saw(snapshot)

    def _establish(self, model: nn.Module, step: int, texts: Sequence[Text]) -> None:
        """Fix the probe set, measure the policy as it is, and have the run keep both."""
        count = min(DRAWS, len(texts))  # neighbours may be answers to one prompt, and belong to one draw
        draws = [texts[len(texts) * part // count : len(texts) * (part + 1) // count] for part in range(count)]
        began = time.monotonic()
        readers = [self._read(model, *self._batch(draw, model)) for draw in draws]
        errors = spread([self._scores([reader]) for reader in readers])
        errors = {name: {layer: rounded(row) for layer, row in rows.items()} for name, rows in errors.items()}
        base = self._scores(readers)
        self.probe = ProbeSet(self.stage, step, texts, base, errors)
        zero = {layer: [0.0] * len(row) for layer, row in base["distance"].items()}
        self._tell(Snapshot(step, "probe", {**base, "drift": zero}, time.monotonic() - began))
        if self.saw is not None:
            self.probe.save(self.path)  # last: where it is there, the base's rows are too

    def _batch(self, texts: Sequence[Text], model: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        return padded(texts, int(self.tokenizer.pad_token_id or 0), next(model.parameters()).device)  # pyright: ignore

    def _read(
        self,
        model: nn.Module,
        ids: Tensor,
        mask: Tensor,
        response: Tensor,
        credited: Tensor | None = None,
        num_shown: int = 0,
    ) -> ScoreReader:
        """Read all layers of a batch."""
        reader = ScoreReader(
            response,
            sentences=[self._sentences(row, own) for row, own in zip(ids, response, strict=True)],
            needle=repeated(ids, mask, response),
            input_ids=ids,
            credited=credited,
            num_shown=num_shown,
        )
        with _at_rest(model):
            read(model, ids, mask, self._layers, reader, self.tracking.micro_batch)
        return reader

    def _gaze(self, reader: ScoreReader, text: Text) -> Gaze:
        """Return where every head looked in the first text."""
        first, size = reader.first_row, len(text.prompt) + len(text.completion)
        rows = min(ROWS, size - first)
        tokens = [str(self.tokenizer.decode([token])) for token in [*text.prompt, *text.completion][: first + rows]]
        shown = sorted(reader.shown.items())
        return Gaze(
            tokens,
            first,
            {layer: peak[:, :rows].tolist() for layer, (peak, _) in shown},
            {layer: top[:, :rows].tolist() for layer, (_, top) in shown},
        )

    def _sentences(self, ids: Int[Tensor, "T"], response: Bool[Tensor, "T"]) -> list[tuple[int, int]]:
        """Return where the sentences of a row's response stand."""
        columns = response.nonzero().flatten().tolist()
        if not columns:
            return []
        first, last = columns[0], columns[-1] + 1
        return [(first + start, first + stop) for start, stop in spans_of_ids(self.tokenizer, ids[first:last].tolist())]

    def _scores(self, readers: Sequence[ScoreReader]) -> dict[str, dict[int, list[float]]]:
        """Return what readers found by score and layer, rounded, and which heads are local and global by it."""
        found: dict[str, dict[int, list[float]]] = {}
        for layer, scores in scores_of(readers).items():
            for name, values in vars(scores).items():
                if values is not None:
                    found.setdefault(name, {})[layer] = rounded(values.tolist())
        near = {layer: found["distance"][layer] for layer in self._chosen}
        if near and all(math.isfinite(value) for row in near.values() for value in row):
            heads = select(near, self.tracking.local_share, self.tracking.global_share)
            for name, chosen in (("local", heads.local), ("global", heads.global_)):
                found[name] = {
                    layer: [float((layer, head) in chosen) for head in range(len(row))] for layer, row in near.items()
                }
        return found


@contextmanager
def _at_rest(model: nn.Module) -> Iterator[None]:
    """Switch dropout off inside, and back to where each module had it."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
