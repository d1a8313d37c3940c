"""PPO (arXiv 1707.06347) on the GRPO trainer's machinery: a critic gives every token an advantage of its own.

Values are read off passes that run anyway: the old ones off the pass over the rollouts, the new ones off the training
forward. Credit weighs the whitened advantages; the critic's targets never see it.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from trl.trainer.grpo_config import GRPOConfig

from rl import critic as critics
from rl.actor_critic import explained_variance, gae, token_rewards, value_loss, whitened
from rl.critic import Critic
from rl.kl import Estimator, KlWeight, estimate_kl
from rl.trainers.batch import Batch, own_tokens
from rl.trainers.grpo import GrpoTrainer


@dataclass(frozen=True)
class PpoSettings:
    """Say how advantages and the critic's loss come about: the recipe's keys of a ppo trainer, explained there.

    `kl_in_reward` says whether the KL is a penalty in each token's reward, or TRL's term in the loss.
    """

    gamma: float = 1.0
    gae_lambda: float = 1.0
    whiten: bool = True
    group_baseline: bool = False
    bootstrap: bool = False
    critic_learning_rate: float = 1e-5
    critic_weight: float = 0.5
    critic_clip: float | None = 0.2
    critic_warmup: int = 0
    trunk_gradient: bool = True
    kl_in_reward: bool = True
    kl_estimator: Estimator = "k1"
    kl_target: float | None = None


@dataclass
class PpoConfig(GRPOConfig):
    """TRL's settings, with groups of one allowed: TRL refuses them since its advantages need a group's spread."""

    def __post_init__(self) -> None:
        """Check the rest of the settings as for one group of all rollouts."""
        size = self.num_generations
        if size == 1:
            self.num_generations = self.generation_batch_size or 2
        super().__post_init__()
        self.num_generations = size


class PpoTrainer(GrpoTrainer):
    """Train a policy and its critic, which becomes a submodule of it."""

    needs_rollout_pass = True

    def __init__(self, *, settings: PpoSettings, critic: Critic, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.kl_weight = KlWeight(self.beta, settings.kl_target)
        critics.attach(self.model, critic)
        self._values: list[Tensor] = []
        self._critic_sums = torch.zeros(3)
        if self.use_vllm:
            self.send_policy_alone()

    def send_policy_alone(self) -> None:
        """Have TRL send weights to vLLM as of a policy without its critic, which vLLM does not know."""
        generation = self.vllm_generation
        generation.sync_weights = partial(_without_critic, self.model, generation.sync_weights)

    @property
    def _warms_up(self) -> bool:
        """Say whether the critic alone trains in this step."""
        return self.state.global_step < self.settings.critic_warmup

    def _policy_pass(self) -> AbstractContextManager[Any]:
        return self._read_values()

    @contextmanager
    def _read_values(self) -> Iterator[None]:
        detached = self._warms_up or not self.settings.trunk_gradient
        with critics.read_values(self.model, detached=detached) as found:
            yield
        self._values = found

    def _take_values(self, length: int) -> Tensor:
        """Return the (B, length + 1) values of the last pass: before each token of the completions, and behind them."""
        values, self._values = torch.cat(self._values), []
        return values[:, -length - 1 :]

    def _set_advantages(self, batch: Batch) -> None:
        """Work out values, returns and whitened advantages of all rollouts, before any of them is trained on."""
        settings = self.settings
        own = own_tokens(batch)
        values = self._take_values(own.shape[1])
        scores = self._scores(own.device)
        judged = own & ~scores.isnan().unsqueeze(-1)
        scores = scores.nan_to_num(0.0)
        kl = self._measure_kl(batch, own) if self.kl_weight.value else None
        if kl is not None:
            self._hold_kl(kl, own)
        penalty = kl if settings.kl_in_reward else None
        rewards = token_rewards(scores, penalty, self.kl_weight.value, own)
        before, behind = values[:, :-1].contiguous(), self._last_values(values, own)
        advantages = gae(rewards, before, own, behind, settings.gamma, settings.gae_lambda)
        returns = advantages + before
        if settings.whiten:
            advantages = whitened(advantages, judged, self._sum_over_ranks)
        batch["advantages"] = batch["unweighted"] = advantages.masked_fill(~judged, 0.0)
        batch |= {"values": before, "returns": returns, "judged": judged}
        batch["num_judged"] = self._sum_over_ranks(judged.sum().float())
        self._say(before, returns, judged)

    def _scores(self, device: torch.device) -> Tensor:
        """Return this rank's rewards (B,), nan where one could not be judged; with a group baseline minus its mean."""
        totals = [rollout.score.total for rollout in self.reward.rollouts]
        scores = torch.tensor([float("nan") if total is None else total for total in totals], device=device)
        if not self.settings.group_baseline:
            return scores
        groups = self.accelerator.gather(scores).view(-1, self.num_generations)  # pyright: ignore
        means = groups.nanmean(1, keepdim=True).expand_as(groups).reshape(-1)
        first = self.accelerator.process_index * len(scores)
        return scores - means[first : first + len(scores)]

    def _last_values(self, values: Tensor, own: Tensor) -> Tensor:
        """Return the value behind each completion: 0 where it ended, and where cut-off ones count as ended."""
        if not self.settings.bootstrap:
            return values.new_zeros(len(values))
        cut = torch.tensor([rollout.sample.truncated for rollout in self.reward.rollouts], device=values.device)
        place = torch.arange(1, own.shape[1] + 1, device=own.device)
        last = (own * place).amax(-1, keepdim=True)
        return values.gather(-1, last).squeeze(-1) * cut

    def _measure_kl(self, batch: Batch, own: Tensor) -> Tensor:
        reference = batch["ref_per_token_logps"]
        kl = estimate_kl(batch["old_per_token_logps"], reference, self.settings.kl_estimator)
        return kl.masked_fill(~own, 0.0)

    def _hold_kl(self, kl: Tensor, own: Tensor) -> None:
        """Say what the rollouts' KL is, and adapt its weight to it."""
        total, tokens, rows = self._sum_over_ranks(
            torch.stack([kl.sum(), own.sum().to(kl), own.any(-1).sum().to(kl)])
        ).tolist()
        if self.settings.kl_in_reward:  # TRL says it where it is in the loss
            self._metrics["train"]["kl"].append(total / max(tokens, 1.0))
        self.kl_weight.update(total / max(rows, 1.0))
        self._metrics["train"]["policy/kl_weight/last"].append(self.kl_weight.value)

    def _say(self, values: Tensor, returns: Tensor, judged: Tensor) -> None:
        metrics = self._metrics["train"]
        if self.num_generations == 1:
            metrics.pop("frac_reward_zero_std", None)  # of groups, which there are none of
        sums = torch.stack([x.masked_fill(~judged, 0.0).sum() for x in (values, returns)])
        value, mean_return = (self._sum_over_ranks(sums) / self._sum_over_ranks(judged.sum()).clamp_min(1)).tolist()
        metrics["critic/value/mean"].append(value)
        metrics["critic/return/mean"].append(mean_return)
        explained = explained_variance(values, returns, judged, self._sum_over_ranks)
        if explained is not None:
            metrics["critic/explained_variance/mean"].append(explained)

    def _compute_loss(self, model: nn.Module, inputs: Batch) -> Tensor:
        settings = self.settings
        self.beta = 0.0 if settings.kl_in_reward else self.kl_weight.value
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self.beta = self.kl_weight.value  # so that TRL reads the reference on the next rollouts
        if not self.model.training:
            return loss
        values = self._take_values(inputs["completion_ids"].shape[1])[:, :-1]
        losses, clipped = value_loss(values, inputs["values"], inputs["returns"], settings.critic_clip)
        judged = inputs["judged"]
        # As TRL's own: a sum over all tokens of a step, each of which counts alike wherever it is trained on.
        assert self.args.steps_per_generation is not None
        steps = self.args.steps_per_generation / self.current_gradient_accumulation_steps
        tokens = inputs["num_judged"].clamp_min(1.0) / self.accelerator.num_processes / steps
        critic_loss = losses.masked_fill(~judged, 0.0).sum() / tokens
        found = torch.stack([losses.detach().masked_fill(~judged, 0.0).sum(), (clipped & judged).sum(), judged.sum()])
        self._critic_sums = self._critic_sums.to(found.device) + found
        return loss * (0.0 if self._warms_up else 1.0) + settings.critic_weight * critic_loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the critic's loss was, a mean over all judged tokens since the last log."""
        total, clipped, count = self._sum_over_ranks(self._critic_sums.to(self.accelerator.device)).tolist()
        self._critic_sums = torch.zeros(3)
        if count and self.model.training:
            self._metrics["train"]["critic/loss/mean"].append(total / count)
            self._metrics["train"]["critic/clip/share"].append(clipped / count)
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Give the critic's parameters groups of their own, with their learning rate."""
        optimizer = super().create_optimizer(model)
        mine = {id(p) for name, p in self.model.named_parameters() if critics.is_of_critic(name)}
        for group in list(optimizer.param_groups):
            moved = [p for p in group["params"] if id(p) in mine]
            if moved:
                group["params"] = [p for p in group["params"] if id(p) not in mine]
                settings = {key: value for key, value in group.items() if key != "params"}
                optimizer.add_param_group({**settings, "params": moved, "lr": self.settings.critic_learning_rate})
        return optimizer

    def _own_state(self) -> dict[str, Any]:
        return {"kl_weight": self.kl_weight.value}

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        self.kl_weight.value = state["kl_weight"]
        self.beta = self.kl_weight.value

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        policy, critic = critics.split(self.model.state_dict() if state_dict is None else state_dict)
        with critics.without_critic(self.model):
            super()._save(output_dir, None if state_dict is None else policy)
        critics.save(critic, Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with critics.without_critic(self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        critics.load(self.model, Path(resume_from_checkpoint))


def _without_critic(model: nn.Module, act: Any) -> None:
    with critics.without_critic(model):
        act()
