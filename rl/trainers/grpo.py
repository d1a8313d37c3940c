"""GRPO on TRL's trainer. Every private seam of TRL that rhythm uses is in this file (tests: test_seams.py).

Seams (TRL 1.16): _generate_and_score_completions, _get_per_token_logps_and_entropies, _compute_loss, _metrics, _step,
_buffered_inputs, _get_train_sampler, _save_checkpoint, _load_optimizer_and_scheduler.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from rl.attention import Rhythm
from rl.credit import Credit
from rl.rollouts import KeptRollout, RubricReward
from rl.trainers.attention_credit import AttentionCredit, CreditSettings, last_tokens
from rl.trainers.observer import Observer
from rl.trainers.state import rollouts_from_json, rollouts_to_json

Batch = dict[str, Any]


class GrpoTrainer(GRPOTrainer):
    """Train with GRPO, each token's advantage weighted by its credit; without credit, TRL's own training to the bit.

    Weights come from the forward pass that runs anyway: the old log-probs' where TRL makes one, else the training
    forward itself, before the loss of that same micro-batch reads the advantages.
    """

    args: GRPOConfig
    model: nn.Module
    num_generations: int

    def __init__(
        self,
        *,
        reward: RubricReward,
        args: GRPOConfig,
        credit: CreditSettings | None,
        observer: Observer,
        keep_every: int,
        keep_count: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(reward_funcs=[reward], args=args, **kwargs)  # pyright: ignore
        self.reward, self.observer = reward, observer
        self.keep_every, self.keep_count = keep_every, keep_count
        self.credit = None if credit is None else AttentionCredit(credit, self.model)
        self._probe_next = False
        self._rhythm: Rhythm | None = None
        self._micro_batch: Batch | None = None
        self._credit_sums = torch.zeros(len(CREDIT_METRICS) + 1, dtype=torch.float64)
        self._sampler: Any = None

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        training = self.model.training
        self._probe_next = training and self.credit is not None and self._makes_old_pass()
        batch: Batch = super()._generate_and_score_completions(inputs)
        if not training:
            return batch
        batch["row"] = torch.arange(len(batch["advantages"]), device=batch["advantages"].device)
        batch["sequence_advantages"] = batch["advantages"]
        if self.credit is not None:
            if self._rhythm is not None:
                self._weigh(batch, self._take_rhythm())
            else:
                ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
                mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
                self._select_heads_if_due(self.model, ids, mask, batch["completion_ids"].size(1))
        return batch

    @property
    def _generate_every(self) -> int:
        """Count the micro-batches that are trained on between two generations."""
        assert self.args.steps_per_generation is not None
        return self.args.steps_per_generation * self.num_iterations

    def _makes_old_pass(self) -> bool:
        """Say whether TRL computes old log-probs in a pass of their own over the rollouts, as TRL itself decides it."""
        misaligned = self.args.gradient_accumulation_steps % self._generate_every != 0
        return misaligned or (self.use_vllm and self.vllm_importance_sampling_correction)

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        call = super()._get_per_token_logps_and_entropies
        if not self._probe_next:  # the reference model's pass, or no credit
            return call(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        self._probe_next = False
        assert self.credit is not None
        self._select_heads_if_due(model, input_ids, attention_mask, logits_to_keep)
        reader = self.credit.reader(_response(attention_mask, logits_to_keep))
        with self.credit.probe(model, reader):
            outputs = call(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        self._rhythm = last_tokens(reader.rhythm(), logits_to_keep)
        if self._micro_batch is not None:
            self._weigh(self._micro_batch, self._take_rhythm())
        return outputs

    def _compute_loss(self, model: nn.Module, inputs: Batch) -> Tensor:
        inputs = dict(inputs)
        training = self.model.training
        self._probe_next = training and self.credit is not None and "weights" not in inputs
        self._micro_batch = inputs if self._probe_next else None
        loss = super()._compute_loss(model, inputs)
        self._micro_batch = None
        if training:
            self._count_credit(inputs)
            self._keep(inputs)
        return loss

    def _select_heads_if_due(self, model: nn.Module, ids: Tensor, mask: Tensor, completion_length: int) -> None:
        step = self.state.global_step + 1
        assert self.credit is not None
        if self.credit.is_due(step):
            response = _response(mask, completion_length)
            size = self.args.per_device_train_batch_size
            distances = self.credit.select_heads(step, model, ids, mask, response, size, self._sum_over_ranks)
            if self.accelerator.is_main_process and self.credit.heads is not None:
                self.observer.saw_heads(step, distances, self.credit.heads)

    def _sum_over_ranks(self, tensor: Tensor) -> Tensor:
        return self.accelerator.reduce(tensor, reduction="sum")  # pyright: ignore

    def _take_rhythm(self) -> Rhythm:
        rhythm, self._rhythm = self._rhythm, None
        assert rhythm is not None
        return rhythm

    def _weigh(self, batch: Batch, rhythm: Rhythm) -> None:
        """Turn the batch's (B,) advantages into (B, T) ones and keep what they came from."""
        assert self.credit is not None
        credit: Credit = self.credit.settings.weigh(rhythm, batch["completion_mask"].bool())
        batch["advantages"] = batch["sequence_advantages"].unsqueeze(1) * credit.weights
        batch |= {"weights": credit.weights, "waad": rhythm.waad, "fai": rhythm.fai}
        batch |= {"anchors": credit.anchors, "preplan": credit.preplan, "dominated": credit.dominated}
        batch["selected"] = credit.selected

    def _count_credit(self, inputs: Batch) -> None:
        if "weights" in inputs:
            mask = inputs["completion_mask"].bool()
            sums = [(measure(inputs) * mask).sum(dtype=torch.float64) for measure in CREDIT_METRICS.values()]
            self._credit_sums += torch.stack([*sums, mask.sum(dtype=torch.float64)]).cpu()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the credit metrics, each a mean over all response tokens since the last log, to TRL's."""
        if self.credit is not None and self.model.training:
            *sums, tokens = self._sum_over_ranks(self._credit_sums.to(self.accelerator.device)).tolist()
            if tokens:
                for name, total in zip(CREDIT_METRICS, sums, strict=True):
                    self._metrics["train"][name].append(total / tokens)
            self._credit_sums.zero_()
        super().log(logs, start_time)

    def _keep(self, inputs: Batch) -> None:
        step = self.state.global_step + 1
        due = step == 1 or step % self.keep_every == 0 or step == self.state.max_steps
        if not (due and self.accelerator.is_main_process):
            return
        kept = [
            self._kept(inputs, index, row)
            for index, row in sorted(enumerate(inputs["row"].tolist()), key=lambda pair: pair[1])
            if row < self.keep_count
        ]
        if kept:
            self.observer.saw_rollouts(step, kept)

    def _kept(self, inputs: Batch, index: int, row: int) -> KeptRollout:
        rollout = self.reward.rollouts[row]
        length = len(rollout.token_ids)
        seen = {
            key: inputs[key][index, :length].tolist() if key in inputs else None
            for key in ("waad", "fai", "weights", "anchors", "preplan")
        }
        advantage = inputs["sequence_advantages"][index].item()
        return KeptRollout(rollout=rollout, group=row // self.num_generations, advantage=advantage, **seen)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        self._sampler = super()._get_train_sampler(dataset)
        return self._sampler

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: TRL's would ask a wandb run that is offline for its address."""

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        stem = folder / f"rhythm-rank{self.args.process_index}"
        fresh = self._step % self._generate_every == 0
        batches: list[Batch] = [] if fresh else self._buffered_inputs  # pyright: ignore
        tensors = {f"{i}.{key}": value.clone() for i, batch in enumerate(batches) for key, value in batch.items()}
        save_file(tensors, stem.with_suffix(".safetensors"))
        state = {
            "step": self._step,
            "credit": self.credit.state() if self.credit else None,
            "rollouts": [] if fresh else rollouts_to_json(self.reward.rollouts),
        }
        part = stem.with_suffix(".json.part")
        part.write_text(json.dumps(state), encoding="utf-8")
        part.replace(stem.with_suffix(".json"))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        stem = Path(checkpoint) / f"rhythm-rank{self.args.process_index}"
        state = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        self._step = state["step"]
        if self.credit is not None:
            self.credit.restore(state["credit"])
        self.reward.rollouts = rollouts_from_json(state["rollouts"])
        self._buffered_inputs = _unflatten(load_file(stem.with_suffix(".safetensors"), str(self.accelerator.device)))
        # The sampler draws one permutation an epoch from a generator of its own, which starts anew in a resumed run.
        for _ in range(math.floor(self.state.epoch or 0) if self._sampler.shuffle else 0):
            torch.randperm(self._sampler.num_samples, generator=self._sampler.generator)


# Means over response tokens, by metric name.
CREDIT_METRICS = {
    "credit/weight/mean": lambda batch: batch["weights"],
    "credit/selected/share": lambda batch: batch["selected"],
    "credit/anchor/share": lambda batch: batch["anchors"],
    "credit/dominated/share": lambda batch: batch["dominated"],
    "attention/waad/mean": lambda batch: batch["waad"],
    "attention/fai/mean": lambda batch: batch["fai"],
}


def _response(attention_mask: Tensor, completion_length: int) -> Tensor:
    """Return which tokens are the response: those of the last completion_length that are no padding."""
    response = attention_mask.bool().clone()
    response[:, :-completion_length] = False
    return response


def _unflatten(tensors: dict[str, Tensor]) -> list[Batch] | None:
    batches: dict[int, Batch] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        batches.setdefault(int(index), {})[key] = value
    return [batches[index] for index in sorted(batches)] or None
