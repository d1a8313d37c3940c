"""GRPO on TRL's trainer. Every private seam of TRL that rhythm uses is in this file (tests: test_seams.py).

Seams (TRL 1.16): _generate_and_score_completions, _generate, _get_per_token_logps_and_entropies, _compute_loss,
_metrics, _step, _tokenizer, eos_token_ids, _buffered_inputs, _get_train_sampler, _save_checkpoint,
_load_optimizer_and_scheduler.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from rl import models
from rl.rollouts import KeptRollout
from rl.scoring import Scorer
from rl.trainers.credit_metrics import CreditMetrics
from rl.trainers.observer import Observer
from rl.trainers.state import load_frozen, rollouts_from_json, rollouts_to_json, save_frozen
from rl.trainers.token_credit import CreditSettings, Place, Reading, TokenCredit

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
        reward: Scorer,
        args: GRPOConfig,
        credit: CreditSettings | None,
        observer: Observer,
        keep_every: int,
        keep_count: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(reward_funcs=[reward], args=args, **kwargs)  # pyright: ignore
        self.reward, self.observer = reward, observer
        reward.attach(self.model, self._write)
        self.keep_every, self.keep_count = keep_every, keep_count
        place = Place(self.accelerator.process_index, self.accelerator.num_processes, self._sum_over_ranks)
        self.credit = (
            None
            if credit is None
            else TokenCredit(credit, self.model, models.delimiters(self._tokenizer), args.seed, place)
        )
        self.credit_metrics = CreditMetrics()
        self._probe_next = False
        self._reading: Reading | None = None
        self._tool_mask: Tensor | None = None
        self._micro_batch: Batch | None = None
        self._sampler: Any = None

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        training = self.model.training
        credit = self.credit if training else None
        self._probe_next = credit is not None and credit.fused and self._makes_old_pass()
        if training:
            self.reward.refresh(self.state.global_step + 1)
        batch: Batch = super()._generate_and_score_completions(self.reward.dress(inputs, self._generation))
        if not training:
            return batch
        if self.reward.advantages is not None:
            batch["advantages"] = batch["advantages"].new_tensor(self.reward.advantages)
        batch["row"] = torch.arange(len(batch["advantages"]), device=batch["advantages"].device)
        batch["sequence_advantages"] = batch["advantages"]
        if credit is not None:
            self._give_credit(credit, batch)
        return batch

    def _give_credit(self, credit: TokenCredit, batch: Batch) -> None:
        """Weigh a generation batch, or leave that to the training forward and prepare what it cannot know."""
        completions = batch["completion_ids"]
        if credit.reads("noise"):
            batch["noise"] = credit.noise(self._generation, *completions.shape).to(completions.device)
        reading, self._reading = self._reading, None
        if reading is None and credit.reads("attention"):
            ids = torch.cat([batch["prompt_ids"], completions], dim=1)
            mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
            response = _response(mask, completions.size(1), batch.get("tool_mask"))
            self._select_heads_if_due(self.model, ids, mask, response)
            if not credit.fused:
                size = self.args.per_device_train_batch_size
                reading = credit.read_separately(self.model, ids, mask, response, size)
        if not (credit.reads("attention") or credit.reads("entropy")):
            reading = Reading()
        if reading is not None:
            self._weigh(credit, batch, reading)

    def _generate(self, prompts: list) -> Any:
        outputs = super()._generate(prompts)
        spans = outputs[2]  # which tokens of a completion are the policy's own, not a tool's
        rows = None if spans is None else [torch.tensor(row, device=self.accelerator.device) for row in spans]
        self._tool_mask = None if rows is None else pad_sequence(rows, batch_first=True, padding_value=1)
        return outputs

    def _write(self, prompts: list[list[int]], max_tokens: int, closing: str) -> list[list[int]]:
        """Have the policy go on from prompts, greedily, up to the closing text; all ranks write as many."""
        tokenizer: Any = self._tokenizer
        wrapped: Any = self.model_wrapped
        config = GenerationConfig(
            max_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=self.eos_token_ids,
            stop_strings=[closing],
        )
        with (
            torch.no_grad(),
            unwrap_model_for_generation(
                wrapped, self.accelerator, gather_deepspeed3_params=self.args.ds3_gather_for_generation
            ) as model,
        ):
            policy: Any = model
            policy.eval()  # no dropout in what is a judgement
            inputs = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
            inputs = inputs.to(self.accelerator.device)
            try:
                written = policy.generate(**inputs, generation_config=config, tokenizer=tokenizer)
            finally:
                policy.train()
        return written[:, inputs["input_ids"].shape[1] :].tolist()

    @property
    def _generate_every(self) -> int:
        """Count the micro-batches that are trained on between two generations."""
        assert self.args.steps_per_generation is not None
        return self.args.steps_per_generation * self.num_iterations

    @property
    def _generation(self) -> int:
        """Count the batches of rollouts before this one, however they are split into micro-batches."""
        return self._step // self._generate_every

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
        credit, batch = self.credit, self._micro_batch
        assert credit is not None
        tool_mask = self._tool_mask if batch is None else batch.get("tool_mask")
        response = _response(attention_mask, logits_to_keep, tool_mask)
        if batch is None:  # the whole generation batch; before the training forward, heads were selected on it
            self._select_heads_if_due(model, input_ids, attention_mask, response)
        if credit.reads("entropy"):
            kwargs["compute_entropy"] = True
        with credit.probe(model, attention_mask, response) as reading:
            outputs = call(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        if credit.reads("entropy"):
            assert outputs[1] is not None
            reading.entropy = outputs[1].detach()
        if batch is None:
            self._reading = reading
        else:
            self._weigh(credit, batch, reading)
        return outputs

    def _compute_loss(self, model: nn.Module, inputs: Batch) -> Tensor:
        inputs = dict(inputs)
        training = self.model.training
        self._probe_next = training and self.credit is not None and "weights" not in inputs
        self._micro_batch = inputs if self._probe_next else None
        loss = super()._compute_loss(model, inputs)
        self._micro_batch = None
        if training:
            if "weights" in inputs:
                self.credit_metrics.add(inputs)
            self._keep(inputs)
        return loss

    def _select_heads_if_due(self, model: nn.Module, ids: Tensor, mask: Tensor, response: Tensor) -> None:
        step = self.state.global_step + 1
        assert self.credit is not None
        if self.credit.is_due(step):
            size = self.args.per_device_train_batch_size
            distances = self.credit.select_heads(step, model, ids, mask, response, size)
            if self.accelerator.is_main_process and self.credit.heads is not None and distances:
                self.observer.saw_heads(step, distances, self.credit.heads)

    def _sum_over_ranks(self, tensor: Tensor) -> Tensor:
        return self.accelerator.reduce(tensor, reduction="sum")  # pyright: ignore

    def _weigh(self, credit: TokenCredit, batch: Batch, reading: Reading) -> None:
        """Turn the batch's (B,) advantages into (B, T) ones and keep what they came from."""
        ids, advantages = batch["completion_ids"], batch["sequence_advantages"]
        own = _response(batch["completion_mask"], ids.shape[1], batch.get("tool_mask"))
        reading = reading.of_last(ids.shape[1])
        given = credit.weigh(ids, own, advantages, reading, batch.get("noise"))
        batch["advantages"] = advantages.unsqueeze(1) * given.weights
        rhythm = reading.rhythm
        batch |= {"weights": given.weights, "selected": given.selected, "response": own}
        batch["delimiters"] = own & credit.is_delimiter(ids)
        optional = {
            "anchors": given.anchors,
            "preplan": given.preplan,
            "dominated": given.dominated,
            "waad": None if rhythm is None else rhythm.waad,
            "fai": None if rhythm is None else rhythm.fai,
        }
        batch |= {name: value for name, value in optional.items() if value is not None}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the credit metrics, each a mean over all response tokens since the last log, to TRL's."""
        if self.credit is not None and self.model.training:
            for name, value in self.credit_metrics.take(self._sum_over_ranks, self.accelerator.device).items():
                self._metrics["train"][name].append(value)
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
        save_frozen(self.reward.judge, folder, self.args.process_index)
        state = {
            "step": self._step,
            "scorer": self.reward.state(),
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
        self.reward.restore(state["scorer"])
        load_frozen(self.reward.judge, Path(checkpoint), self.args.process_index, state["scorer"]["copy_taken_at"])
        self.reward.rollouts = rollouts_from_json(state["rollouts"])
        self._buffered_inputs = _unflatten(load_file(stem.with_suffix(".safetensors"), str(self.accelerator.device)))
        # The sampler draws one permutation an epoch from a generator of its own, which starts anew in a resumed run.
        for _ in range(math.floor(self.state.epoch or 0) if self._sampler.shuffle else 0):
            torch.randperm(self._sampler.num_samples, generator=self._sampler.generator)


def _response(attention_mask: Tensor, completion_length: int, tool_mask: Tensor | None) -> Tensor:
    """Return which tokens the policy wrote: the last completion_length ones, without padding and a tool's answers."""
    response = attention_mask.bool().clone()
    response[:, :-completion_length] = False
    if tool_mask is not None:
        own = pad(tool_mask, (0, completion_length - tool_mask.shape[1]), value=1)
        response[:, -completion_length:] &= own.bool()
    return response


def _unflatten(tensors: dict[str, Tensor]) -> list[Batch] | None:
    batches: dict[int, Batch] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        batches.setdefault(int(index), {})[key] = value
    return [batches[index] for index in sorted(batches)] or None
