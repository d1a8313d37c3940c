"""Where a trainer's news goes: metrics.jsonl first, then samples and heads, the progress display, and wandb last."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rl.attention import Heads
from rl.rollouts import KeptRollout
from rl.telemetry.gaze import GAZE
from rl.telemetry.head_tracker import Snapshot
from rl.telemetry.heads import Turnover, selection_rows, snapshot_rows
from rl.telemetry.jsonl import read_rows
from rl.telemetry.progress import ProgressDisplay
from rl.telemetry.record import RunDirectory
from rl.telemetry.samples import sample_row
from rl.telemetry.tracking import Tracker

TOKENS, SECONDS = "data/tokens/total", "time/heads/seconds"


class Watch(TrainerCallback):
    """Write down one stage of a run; a callback of its trainer, and its observer."""

    def __init__(
        self,
        *,
        stage: str,
        run: RunDirectory,
        rename: Callable[[Mapping[str, object]], dict[str, float | None]],
        tokenizer: PreTrainedTokenizerBase,
        progress: ProgressDisplay,
        tracker: Tracker,
    ) -> None:
        self.stage, self.run, self.rename, self.tokenizer = stage, run, rename, tokenizer
        self.progress, self.tracker = progress, tracker
        self._since = self._counted = time.monotonic()
        self._tokens = self._earlier = 0.0
        self._turnover = Turnover([], [])
        self._of_heads: dict[str, float | None] = {}
        self._snapshots: list[Snapshot] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock and the display."""
        self.progress.begin(self.stage, state.max_steps, state.global_step)
        self._since = self._counted = time.monotonic()
        written = read_rows(self.run.metrics.path)
        self._turnover = Turnover(read_rows(self.run.heads.path), written)
        rows = [row for row in written if row["stage"] == self.stage]
        self._tokens = next((row[TOKENS] for row in reversed(rows) if row.get(TOKENS) is not None), 0.0)
        self._earlier = self._tokens - state.num_input_tokens_seen  # TRL's SFT trainer counts anew when it resumes

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write a step's metrics, on the main process."""
        metrics = self.rename(kwargs["logs"])
        if not (state.is_world_process_zero and "optimizer/loss/mean" in metrics):
            return
        now = time.monotonic()
        metrics["time/step/seconds"], self._since = now - self._since, now
        tokens = (metrics.get(TOKENS) or 0.0) + self._earlier
        if metrics.get(TOKENS) is not None:
            metrics[TOKENS] = tokens
        if tokens > self._tokens:  # a generation may serve several steps: its tokens took all of their time
            metrics["time/tokens/per_second"] = (tokens - self._tokens) / (now - self._counted)
            self._tokens, self._counted = tokens, now
        metrics |= self._of_heads
        self._of_heads = {}
        correlation = self._turnover.saw_step(metrics)
        if correlation is not None:
            metrics["heads/turnover_reward/spearman"] = correlation
        row = {"stage": self.stage, "step": state.global_step, **dict(sorted(metrics.items()))}
        self.run.metrics.write(row)
        self.progress.update(row)
        self.tracker.log(row, self._snapshots)
        self._snapshots = []

    def saw_heads(self, step: int, distances: Mapping[int, Sequence[float]], heads: Heads) -> None:
        """Write a head selection to heads.jsonl."""
        self.run.heads.write(*({"stage": self.stage, **row} for row in selection_rows(step, distances, heads)))

    def saw_snapshot(self, snapshot: Snapshot) -> None:
        """Write what every head had to heads.jsonl and wandb, and what has changed to the step's metrics."""
        self.run.heads.write(*({"stage": self.stage, **row} for row in snapshot_rows(snapshot)))
        if snapshot.source == "probe":
            self._of_heads |= self._turnover.saw_snapshot(snapshot.scores)
        if snapshot.gaze is not None:
            snapshot.gaze.save(self.run.path / GAZE, self.stage, snapshot.step)
        spent = self._of_heads.get(SECONDS) or 0.0
        self._of_heads[SECONDS] = spent + snapshot.seconds
        self._snapshots.append(replace(snapshot, gaze=None))

    def saw_rollouts(self, step: int, rollouts: Sequence[KeptRollout]) -> None:
        """Write rollouts to samples.jsonl."""
        rows = (sample_row(rollout, self.tokenizer) for rollout in rollouts)
        self.run.samples.write(*({"stage": self.stage, "step": step, **row} for row in rows))
