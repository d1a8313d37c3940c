"""GRPO on TRL's trainer. Every private seam of TRL is in this file, those of resuming in resumable.py (test_seams.py).

Seams (TRL 1.16): _generate_and_score_completions, _generate, _get_per_token_logps_and_entropies, _compute_loss,
_metrics, _step, _tokenizer, eos_token_ids, beta, vllm_generation.sync_weights. PPO stands on this trainer, through its
first methods.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.grpo_config import GRPOConfig

from rl.scoring import Scorer
from rl.tokens import delimiters
from rl.trainers.batch import (
    Batch,
    credited_of,
    kept_rollouts,
    response_in,
    response_of,
    sequences,
    tokens_of,
    without_padding,
)
from rl.trainers.credit_metrics import CreditMetrics
from rl.trainers.observer import BatchWatcher, Observer
from rl.trainers.resumable import ResumableTrainer
from rl.trainers.token_credit import CreditSettings, Place, Reading, TokenCredit
from rl.trainers.writing import write_greedily


class GrpoTrainer(ResumableTrainer):
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
        watcher: BatchWatcher | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(reward_funcs=[reward], args=args, **kwargs)  # pyright: ignore
        self.reward, self.observer, self.watcher = reward, observer, watcher
        reward.attach(self.model, partial(write_greedily, self, self._tokenizer, self.eos_token_ids))
        self.keep_every, self.keep_count = keep_every, keep_count
        place = Place(self.accelerator.process_index, self.accelerator.num_processes, self._sum_over_ranks)
        self.credit = (
            None if credit is None else TokenCredit(credit, self.model, delimiters(self._tokenizer), args.seed, place)
        )
        self.credit_metrics = CreditMetrics()
        self._next_pass: Literal["rollouts", "update"] | None = None
        self._reading: Reading | None = None
        self._tool_mask: Tensor | None = None
        self._micro_batch: Batch | None = None

    needs_rollout_pass = False
    """Whether the policy must read all rollouts before it trains on them, also where TRL would not have it do so."""

    def _before_rollouts(self) -> None:
        """Get ready for a batch of rollouts."""

    def _policy_pass(self, length: int) -> AbstractContextManager[Any]:
        """Surround a forward pass of the policy over rollouts, or a micro-batch of them, with `length` completions."""
        return nullcontext()

    def _set_advantages(self, batch: Batch) -> None:
        """Put the advantages of a generation batch into it, (B,) or (B, T): `unweighted`, to be weighted by credit."""
        if self.reward.advantages is not None:
            batch["advantages"] = batch["advantages"].new_tensor(self.reward.advantages)
        batch["unweighted"] = batch["advantages"]

    def _add_to_loss(self, loss: Tensor, inputs: Batch) -> Tensor:
        """Return the loss of a micro-batch with whatever else is trained."""
        return loss

    def say(self, name: str, value: float) -> None:
        """Add a metric to the next log, in which it is a mean."""
        self._metrics["train"][name].append(value)

    def send_weights_inside(self, context: Callable[[], AbstractContextManager[None]]) -> None:
        """Have TRL send the policy's weights to vLLM inside a context, where it sends any."""
        generation = getattr(self, "vllm_generation", None)
        if generation is not None:
            generation.sync_weights = _inside(context, generation.sync_weights)

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        training = self.model.training
        makes_pass = training and self._makes_old_pass()
        self._next_pass = "rollouts" if makes_pass else None
        if training:
            self.reward.refresh(self.state.global_step + 1)
            self._before_rollouts()
        batch: Batch = super()._generate_and_score_completions(self.reward.dress(inputs, self._generation))
        if not training:
            return batch
        if self.needs_rollout_pass and not makes_pass:
            self._pass_over_rollouts(batch)
        if self.num_generations == 1:
            self._metrics["train"].pop("frac_reward_zero_std", None)  # of groups, which there are none of
        batch["row"] = torch.arange(len(batch["advantages"]), device=batch["advantages"].device)
        self._set_advantages(batch)
        if self.credit is not None:
            self._give_credit(self.credit, batch)
        if self.watcher is not None:
            self.watcher.saw_generation(self.state.global_step + 1, self.model, *tokens_of(batch))
        return batch

    @torch.no_grad()
    def _pass_over_rollouts(self, batch: Batch) -> None:
        """Have the policy read a generation batch, as TRL does where it needs old log-probs, and keep those."""
        ids, mask = sequences(batch)
        policy: Any = self.model
        with disable_gradient_checkpointing(policy, self.args.gradient_checkpointing_kwargs):  # pyright: ignore
            self._next_pass = "rollouts"
            batch["old_per_token_logps"], _, _ = self._get_per_token_logps_and_entropies(
                self.model,
                ids,
                mask,
                batch["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
            )

    def _give_credit(self, credit: TokenCredit, batch: Batch) -> None:
        """Weigh a generation batch, or leave that to the training forward and prepare what it cannot know."""
        completions = batch["completion_ids"]
        if credit.reads("noise"):
            batch["noise"] = credit.noise(self._generation, *completions.shape).to(completions.device)
        reading, self._reading = self._reading, None
        if reading is None and credit.reads("attention"):
            ids, mask, response = tokens_of(batch)
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
        purpose, self._next_pass = self._next_pass, None
        if purpose is None:  # the reference model's
            return call(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        credit, batch = self.credit, self._micro_batch
        if credit is None or not (credit.fused if purpose == "rollouts" else batch is not None):
            with self._policy_pass(logits_to_keep):
                return call(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        tool_mask = self._tool_mask if batch is None else batch.get("tool_mask")
        response = response_in(attention_mask, logits_to_keep, tool_mask)
        if batch is None:  # the whole generation batch; before the training forward, heads were selected on it
            self._select_heads_if_due(model, input_ids, attention_mask, response)
        if credit.reads("entropy"):
            kwargs["compute_entropy"] = True
        with self._policy_pass(logits_to_keep), credit.probe(model, attention_mask, response) as reading:
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
        inputs = without_padding(inputs)
        training = self.model.training
        self._next_pass = "update" if training else None
        self._micro_batch = inputs if training and self.credit is not None and "weights" not in inputs else None
        loss = super()._compute_loss(model, inputs)
        self._micro_batch = None
        if not training:
            return loss
        if "weights" in inputs:
            self.credit_metrics.add(inputs)
        self._keep(inputs)
        if self.watcher is not None:
            self.watcher.saw_micro_batch(self.state.global_step + 1, *tokens_of(inputs), credited_of(inputs))
        return self._add_to_loss(loss, inputs)

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
        """Turn the batch's advantages into weighted (B, T) ones and keep what they came from."""
        ids, advantages = batch["completion_ids"], batch["unweighted"]
        response = response_of(batch)
        reading = reading.of_last(ids.shape[1])
        given = credit.weigh(ids, response, advantages, reading, batch.get("noise"))
        batch["advantages"] = (advantages.unsqueeze(1) if advantages.dim() == 1 else advantages) * given.weights
        rhythm = reading.rhythm
        batch |= {"weights": given.weights, "selected": given.selected, "response": response}
        batch["delimiters"] = response & credit.is_delimiter(ids)
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
                self.say(name, value)
        super().log(logs, start_time)

    def _keep(self, inputs: Batch) -> None:
        step = self.state.global_step + 1
        due = step == 1 or step % self.keep_every == 0 or step == self.state.max_steps
        if not (due and self.accelerator.is_main_process):
            return
        kept = kept_rollouts(inputs, self.reward.rollouts, self.keep_count, self.num_generations)
        if kept:
            self.observer.saw_rollouts(step, kept)


def _inside(context: Callable[[], AbstractContextManager[None]], act: Callable[[], None]) -> Callable[[], None]:
    def act_inside() -> None:
        with context():
            act()

    return act_inside
