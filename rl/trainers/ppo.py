"""PPO (arXiv 1707.06347) on the GRPO trainer's machinery: a critic gives every token an advantage of its own.

Values are read off passes of the policy: the old ones off the pass over the rollouts, the new ones off the training
forward. Credit weighs the whitened advantages; the critic's targets never see it.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.utils import disable_dropout_in_model

from rl import critic as critics
from rl.actor_critic import explained_variance, gae, token_rewards, value_loss, whitened
from rl.critic import Critic
from rl.kl import Estimator, KlWeight, estimate_kl
from rl.trainers.batch import Batch, response_of
from rl.trainers.grpo import GrpoTrainer


@dataclass(frozen=True)
class PpoSettings:
    """Say how advantages and the critic's loss come about: the recipe's keys of a ppo trainer, explained there.

    Keys of its sections `critic` and `kl` have the section's name before theirs. `critic_clip` None never clips.
    """

    gamma: float = 1.0
    gae_lambda: float = 1.0
    whiten: bool = True
    baseline: Literal["none", "group"] = "none"
    truncated: Literal["end", "bootstrap"] = "end"
    critic_learning_rate: float = 1e-5
    critic_warmup_steps: int = 0
    critic_loss_weight: float = 0.5
    critic_clip: float | None = 0.2
    critic_trunk_gradient: bool = True
    kl_place: Literal["reward", "loss"] = "reward"
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
        if self.args.disable_dropout:
            disable_dropout_in_model(critic)
        critics.attach(self.model, critic)
        self.send_weights_inside(lambda: critics.without_critic(self.model))
        self._values: list[Tensor] = []
        self._critic_sums = torch.zeros(3)

    @property
    def _warms_up(self) -> bool:
        """Say whether the critic alone trains in this step."""
        return self.state.global_step < self.settings.critic_warmup_steps

    def _policy_pass(self, length: int) -> AbstractContextManager[Any]:
        return self._read_values(length)

    @contextmanager
    def _read_values(self, length: int) -> Iterator[None]:
        """Keep the values of a pass, before each of the last `length` tokens and behind them."""
        detached = self._warms_up or not self.settings.critic_trunk_gradient
        with critics.read_values(self.model, last=length + 1, detached=detached) as found:
            yield
        self._values = found

    def _take_values(self) -> Tensor:
        values, self._values = torch.cat(self._values), []
        return values

    def _before_rollouts(self) -> None:
        self.beta = self.kl_weight.value  # other than 0 TRL has the reference read the rollouts

    def _set_advantages(self, batch: Batch) -> None:
        """Work out values, returns and whitened advantages of all rollouts, before any of them is trained on."""
        settings, response = self.settings, response_of(batch)
        values = self._take_values()
        before, behind = values[:, :-1].contiguous(), self._last_values(values, response)
        scores = self._scores(response.device)
        judged = response & ~scores.isnan().unsqueeze(-1)
        kl = self._measure_kl(batch, response) if self.beta else None
        penalty = kl if settings.kl_place == "reward" else None
        rewards = token_rewards(scores.nan_to_num(0.0), penalty, self.beta, response)
        advantages = gae(rewards, before, response, behind, settings.gamma, settings.gae_lambda)
        returns = advantages + before
        if settings.whiten:
            advantages = whitened(advantages, judged, self._sum_over_ranks)
        batch["advantages"] = batch["unweighted"] = advantages.masked_fill(~judged, 0.0)
        batch |= {"values": before, "returns": returns, "judged": judged}
        batch["num_judged"] = self._sum_over_ranks(judged.sum().float())
        self._say_values(before, returns, judged)
        if kl is not None:
            self._say_kl(kl, response)
        if penalty is not None:
            self.beta = 0.0  # so that TRL does not add it to the loss, too

    def _scores(self, device: torch.device) -> Tensor:
        """Return this rank's rewards (B,), nan where one could not be judged; with a group baseline minus its mean."""
        totals = [rollout.score.total for rollout in self.reward.rollouts]
        scores = torch.tensor([float("nan") if total is None else total for total in totals], device=device)
        if self.settings.baseline == "none":
            return scores
        groups = self.accelerator.gather(scores).view(-1, self.num_generations)  # pyright: ignore
        means = groups.nanmean(1, keepdim=True).expand_as(groups).reshape(-1)
        first = self.accelerator.process_index * len(scores)
        return scores - means[first : first + len(scores)]

    def _last_values(self, values: Tensor, response: Tensor) -> Tensor:
        """Return the value behind each completion: 0 where it ended, and where cut-off ones count as ended."""
        if self.settings.truncated == "end":
            return values.new_zeros(len(values))
        cut = torch.tensor([rollout.sample.truncated for rollout in self.reward.rollouts], device=values.device)
        place = torch.arange(1, response.shape[1] + 1, device=response.device)
        last = (response * place).amax(-1, keepdim=True)
        return values.gather(-1, last).squeeze(-1) * cut

    def _measure_kl(self, batch: Batch, response: Tensor) -> Tensor:
        reference = batch["ref_per_token_logps"]
        kl = estimate_kl(batch["old_per_token_logps"], reference, self.settings.kl_estimator)
        return kl.masked_fill(~response, 0.0)

    def _say_kl(self, kl: Tensor, response: Tensor) -> None:
        """Say what the rollouts' KL and its weight are, and adapt the weight of the rollouts after these."""
        counts = torch.stack([kl.sum(), response.sum().to(kl), response.any(-1).sum().to(kl)])
        total, tokens, rows = self._sum_over_ranks(counts).tolist()
        if self.settings.kl_place == "reward":  # TRL says it where it is in the loss
            self.say("kl", total / max(tokens, 1.0))
        self.say("policy/kl_weight/last", self.kl_weight.value)
        self.kl_weight.update(total / max(rows, 1.0))

    def _say_values(self, values: Tensor, returns: Tensor, judged: Tensor) -> None:
        sums = torch.stack([x.masked_fill(~judged, 0.0).sum() for x in (values, returns, judged.to(values))])
        value, mean_return, count = self._sum_over_ranks(sums).tolist()
        explained = explained_variance(values, returns, judged, self._sum_over_ranks)
        if count:
            self.say("critic/value/mean", value / count)
            self.say("critic/return/mean", mean_return / count)
        if explained is not None:
            self.say("critic/explained_variance/mean", explained)

    def _add_to_loss(self, loss: Tensor, inputs: Batch) -> Tensor:
        """Add the critic's loss, as TRL sums its own: every token of a step counts alike, wherever it is trained on."""
        values, judged = self._take_values()[:, :-1], inputs["judged"]
        losses, clipped = value_loss(values, inputs["values"], inputs["returns"], self.settings.critic_clip)
        losses = losses.masked_fill(~judged, 0.0)
        assert self.args.steps_per_generation is not None
        num_updates = self.args.steps_per_generation / self.current_gradient_accumulation_steps
        normalizer = inputs["num_judged"].clamp_min(1.0) / self.accelerator.num_processes / num_updates
        found = torch.stack([losses.detach().sum(), (clipped & judged).sum(), judged.sum()])
        self._critic_sums = self._critic_sums.to(found.device) + found
        return loss + self.settings.critic_loss_weight * losses.sum() / normalizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the critic's loss was, a mean over all judged tokens since the last log."""
        if self.model.training:
            total, clipped, count = self._sum_over_ranks(self._critic_sums.to(self.accelerator.device)).tolist()
            self._critic_sums = torch.zeros(3)
            if count:
                self.say("critic/loss/mean", total / count)
                self.say("critic/clip/share", clipped / count)
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Give the critic's parameters groups of their own, with their learning rate."""
        optimizer = super().create_optimizer(model)
        critic = {id(p) for name, p in self.model.named_parameters() if critics.is_of_critic(name)}
        groups: list[dict[str, Any]] = []
        for group in optimizer.param_groups:
            parts = {of: [p for p in group["params"] if (id(p) in critic) is of] for of in (False, True)}
            groups += [{**group, "params": parts[of], "of_critic": of} for of in parts if parts[of]]
        for group in groups:
            if group["of_critic"]:
                group["lr"] = self.settings.critic_learning_rate
        optimizer.param_groups[:] = groups
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Keep the policy's learning rate at 0 while the critic warms up; its moments are those of its gradients."""
        scheduler: Any = super().create_scheduler(num_training_steps, optimizer)
        if self.settings.critic_warmup_steps:
            groups = scheduler.optimizer.param_groups
            pairs = zip(groups, scheduler.lr_lambdas, strict=True)
            scheduler.lr_lambdas = [share if group["of_critic"] else self._later(share) for group, share in pairs]
            for group in groups:
                group["lr"] = group["lr"] if group["of_critic"] else 0.0
            scheduler._last_lr = [group["lr"] for group in groups]
        return scheduler

    def _later(self, share: Any) -> Any:
        return lambda step: share(step) if step >= self.settings.critic_warmup_steps else 0.0

    def _own_state(self) -> dict[str, Any]:
        return {"kl_weight": self.kl_weight.value, "beta": self.beta}

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        self.kl_weight.value, self.beta = state["kl_weight"], state["beta"]

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        policy, critic = critics.split(self.model.state_dict() if state_dict is None else state_dict)
        with critics.without_critic(self.model):
            super()._save(output_dir, None if state_dict is None else policy)
        if critic:  # ZeRO-3 may keep all weights in its own files alone
            critics.save(critic, Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with critics.without_critic(self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        critics.load(self.model, Path(resume_from_checkpoint))
