"""What PPO costs beside GRPO: real steps on the same rollouts, interleaved, paired.

    python tests/benchmarks/ppo_cost.py [--tokens 384] [--rollouts 4] [--rounds 11] [--device cpu]
    python tests/benchmarks/ppo_cost.py --shape qwen3-0.6b --tokens 8000 --replay --checkpointing    # on a GPU

Arms: `grpo`, `ppo` (a critic on the shared trunk) and `ppo_own` (a critic of its own, as large as the policy), each
with two optimizer steps on its rollouts, for which TRL reads old log-probs in a pass of their own; `grpo_once` and
`ppo_once` with one, where GRPO needs no such pass, and PPO does, for its values. All under coupled credit. Every round
runs each arm once, in turning order and with the round's seed; the policy's learning rate is 0, so that all arms
generate the same. `optimisation` is the time without the generation of tokens, `trunk passes` how many sequences went
through the policy's trunk, `own passes` through a critic of its own. Peak memory is of the tensors held beyond what was
there before. Ratios are to `grpo`, for the `_once` arms to `grpo_once`; medians over rounds. The last line is JSON.
"""

import argparse
import copy
import functools
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from attention_cost import peak_extra
from credit_overhead import NEVER, SHAPES, Silent, now, parts
from datasets import disable_progress_bars
from transformers import Qwen3Config, Qwen3ForCausalLM, set_seed
from transformers.trainer_callback import PrinterCallback

from rl.credit import coupled
from rl.critic import Critic
from rl.models import own_critic
from rl.trainers.grpo import GrpoTrainer
from rl.trainers.ppo import PpoConfig, PpoSettings, PpoTrainer
from rl.trainers.token_credit import CreditSettings

ARMS = {"grpo": 2, "ppo": 2, "ppo_own": 2, "grpo_once": 1, "ppo_once": 1}  # optimizer steps on one batch of rollouts
CREDIT = CreditSettings(rule=coupled, reselect_every=NEVER, calibration=1)


def build(name: str, model: Qwen3ForCausalLM, options: argparse.Namespace, folder: Path) -> GrpoTrainer:
    common = parts(options, folder / name, PpoConfig, max_steps=ARMS[name], num_iterations=ARMS[name])
    build_trainer: Callable[..., GrpoTrainer] = GrpoTrainer
    if name.startswith("ppo"):
        size = model.config.hidden_size
        critic = own_critic(copy.deepcopy(model)) if name == "ppo_own" else Critic(size)
        build_trainer = functools.partial(PpoTrainer, settings=PpoSettings(), critic=critic)
    watched = {"observer": Silent(), "keep_every": NEVER, "keep_count": 0}
    trainer = build_trainer(model=model, credit=CREDIT, **watched, **common)
    trainer.remove_callback(PrinterCallback)
    return trainer


class Watch:
    """Time a trainer's rollouts apart from the rest, and count what goes through its networks."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.generation, self.sequences = trainer, 0.0, Counter()
        generate = trainer._generate

        def timed(*args: Any) -> Any:
            start, counted = now(), self.sequences.copy()
            outputs = generate(*args)
            self.generation, self.sequences = now() - start, counted  # what generation needs is no pass over rollouts
            return outputs

        trainer._generate = timed
        self._count("trunk passes", trainer.model.model)
        critic = getattr(trainer.model, "critic", None)
        if critic is not None and critic.backbone is not None:
            self._count("own passes", critic.backbone)

    def _count(self, name: str, network: torch.nn.Module) -> None:
        def count(_: Any, __: Any, kwargs: dict[str, Any], ___: Any) -> None:
            self.sequences[name] += len(kwargs["input_ids"])

        network.register_forward_hook(count, with_kwargs=True)

    def step(self, seed: int) -> tuple[float, float]:
        """Train on one batch of rollouts; return seconds, with and without generation."""
        self.trainer._step, self.trainer._buffered_inputs = 0, None
        self.sequences.clear()
        set_seed(seed)
        start = now()
        self.trainer.train()
        seconds = now() - start
        return seconds, seconds - self.generation


def measure(
    options: argparse.Namespace,
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, int], dict[str, Counter]]:
    """Return each arm's seconds by round, its peak extra bytes, and what went through its networks."""
    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=1024, max_position_embeddings=65536, **SHAPES[options.shape])
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    base = Qwen3ForCausalLM(config).to(options.device, dtype)
    with tempfile.TemporaryDirectory() as folder:
        arms = {name: Watch(build(name, copy.deepcopy(base), options, Path(folder))) for name in ARMS}
        times: Times = {name: [] for name in ARMS}
        names = list(ARMS)
        for round_ in range(options.rounds + 1):
            for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
                pair = arms[name].step(round_)
                if round_:  # the first round warms up, and selects heads
                    times[name].append(pair)
            made = [[rollout.token_ids for rollout in arms[name].trainer.reward.rollouts] for name in names]
            assert all(rollouts == made[0] for rollouts in made), "arms must train on the same rollouts"
        passes = {name: Counter(arm.sequences) for name, arm in arms.items()}
        memory = {name: peak_extra(functools.partial(arm.step, 0), options.device) for name, arm in arms.items()}
    return times, memory, passes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=384, help="tokens of a completion")
    parser.add_argument("--prompt", type=int, default=100, help="words put before a prompt")
    parser.add_argument("--rollouts", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--replay", action="store_true", help="random completions: the optimisation phase alone")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations in the backward pass")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    disable_progress_bars()
    start = time.perf_counter()
    times, memory, passes = measure(options)
    columns = ("step s", "optimisation s", "peak MB", "trunk passes", "own passes", "step", "optimisation", "memory")
    print(" ".join(f"{name:>14}" for name in ("arm", *columns)))
    result: dict[str, float] = {}
    for name, pairs in times.items():
        beside = "grpo_once" if name.endswith("_once") else "grpo"
        ratios = [
            statistics.median(ours[i] / theirs[i] for ours, theirs in zip(pairs, times[beside], strict=True))
            for i in (0, 1)
        ]
        ratios.append(memory[name] / memory[beside])
        seconds = [statistics.median(pair[i] for pair in pairs) for i in (0, 1)]
        counts = [str(passes[name][what]) for what in ("trunk passes", "own passes")]
        figures = [f"{seconds[0]:.3f}", f"{seconds[1]:.3f}", f"{memory[name] / 1e6:.1f}", *counts]
        print(" ".join(f"{value:>14}" for value in (name, *figures, *(f"{one:.4f}" for one in ratios))))
        keys = ("step_ratio", "optimisation_ratio", "memory_ratio")
        if name != beside:
            result |= {f"{name}.{key}": round(ratio, 4) for key, ratio in zip(keys, ratios, strict=True)}
        result |= {f"{name}.{what.replace(' ', '_')}": passes[name][what] for what in ("trunk passes", "own passes")}
    about = {"benchmark": "ppo_cost", "shape": options.shape, "device": options.device, "rollouts": options.rollouts}
    took = round(time.perf_counter() - start)
    print(json.dumps({**about, "tokens": options.tokens, "rounds": options.rounds, "seconds": took, **result}))


if __name__ == "__main__":
    main()
