"""What credit costs a GRPO step, beside plain TRL GRPO: real steps, same rollouts, interleaved, paired.

    python tests/benchmarks/credit_overhead.py [--tokens 384] [--rollouts 4] [--rounds 11] [--device cpu]
    python tests/benchmarks/credit_overhead.py --shape qwen3-0.6b --tokens 8000 --replay --checkpointing    # on a GPU

Arms: `plain` (TRL's GRPOTrainer), `uniform`, `coupled_fused`, `coupled_separate`, and `coupled_reselect`: fused, with
heads selected in every step, on a quarter of the rollouts (a recipe does so every 25 steps). Every round runs one step
of each arm, in turning order and with the round's seed; the learning rate is 0, so that all arms generate the same. The
optimisation phase is the step without the generation of tokens. Peak memory is of the tensors that a step holds beyond
what was there before it. Ratios are to `plain`, medians over rounds. Prints a table, and last one line of JSON.
"""

import argparse
import copy
import functools
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")
os.environ.setdefault("KINETO_LOG_LEVEL", "5")

import torch
from attention_cost import peak_extra
from datasets import disable_progress_bars
from transformers import Qwen3Config, Qwen3ForCausalLM, TrainerCallback, set_seed
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from rewards import Rubric, Sample
from rl import tiny
from rl.credit import coupled
from rl.data.sources import from_reasoning_gym
from rl.rollouts import prompt_dataset
from rl.scoring import Scorer
from rl.trainers.grpo import GrpoTrainer
from rl.trainers.token_credit import CreditSettings

NEVER = 10**9
ARMS: dict[str, CreditSettings | None] = {
    "plain": None,
    "uniform": None,
    "coupled_fused": CreditSettings(rule=coupled, reselect_every=NEVER),
    "coupled_separate": CreditSettings(rule=coupled, reselect_every=NEVER, separate=True),
    "coupled_reselect": CreditSettings(rule=coupled, reselect_every=0),
}
RESELECT_EVERY = 25  # a recipe's default
SHAPES = {
    "small": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 12, "num_attention_heads": 8,
              "num_key_value_heads": 4, "head_dim": 32},
    "qwen3-0.6b": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
                   "num_key_value_heads": 8, "head_dim": 128},
}  # fmt: skip


class Silent:
    """An observer that does nothing."""

    def saw_heads(self, *_: Any) -> None:
        pass

    def saw_rollouts(self, *_: Any) -> None:
        pass


class ByParity:
    """A reward with spread for an untrained model."""

    def __call__(self, sample: Sample) -> float:
        return float(len(sample.completion) % 2)


class Clock(TrainerCallback):
    """Time a trainer's step, and the generation of tokens in it."""

    def __init__(self, trainer: GRPOTrainer) -> None:
        self.step = self.generation = 0.0
        generate = trainer._generate

        def timed(*args: Any) -> Any:
            start = now()
            outputs = generate(*args)
            self.generation = now() - start
            return outputs

        trainer._generate = timed  # pyright: ignore
        trainer.add_callback(self)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._start = now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.step = now() - self._start


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def parts(options: argparse.Namespace, folder: Path, config: type[GRPOConfig], **settings: Any) -> dict[str, Any]:
    """Return what every arm's trainer takes alike, but for its model; `settings` are fields of config."""
    tokenizer = tiny.build_tokenizer()
    tasks = from_reasoning_gym("chain_sum", 32, 0, {"min_terms": 3, "max_terms": 4})
    rubric = Rubric({"parity": ByParity()}, {"parity": 1.0})
    arguments = config(
        output_dir=str(folder),
        learning_rate=0.0,
        per_device_train_batch_size=options.rollouts,
        num_generations=options.rollouts,
        max_completion_length=options.tokens,
        generation_kwargs={"min_new_tokens": options.tokens},
        gradient_checkpointing=options.checkpointing,
        use_cpu=options.device == "cpu",
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        **settings,
    )
    return {
        "args": arguments,
        "reward": Scorer(rubric, tasks, tokenizer, group_size=options.rollouts),
        "train_dataset": prompt_dataset(tasks, "Think. " * options.prompt),
        "processing_class": tokenizer,
        "rollout_func": functools.partial(replay, length=options.tokens) if options.replay else None,
    }


def build(name: str, model: Qwen3ForCausalLM, options: argparse.Namespace, folder: Path) -> GRPOTrainer:
    common = parts(options, folder / name, GRPOConfig, max_steps=1)
    reward = common.pop("reward")
    if name == "plain":
        trainer = GRPOTrainer(reward_funcs=[reward], model=model, **common)
    else:
        credit = ARMS[name] and replace(ARMS[name], calibration=max(1, options.rollouts // 4))
        watched = {"observer": Silent(), "keep_every": NEVER, "keep_count": 0}
        trainer = GrpoTrainer(reward=reward, credit=credit, model=model, **watched, **common)
    trainer.remove_callback(PrinterCallback)
    trainer.rollouts_of = reward  # pyright: ignore
    return trainer


def replay(prompts: list, trainer: Any, length: int) -> dict[str, Any]:
    """Return random completions in place of generated ones."""
    tokenizer = trainer._tokenizer
    ids = [tokenizer.apply_chat_template(one, add_generation_prompt=True, return_dict=False) for one in prompts]
    completions = torch.randint(10, len(tokenizer) - 10, (len(prompts), length)).tolist()
    return {"prompt_ids": ids, "completion_ids": completions, "logprobs": None}


def step(trainer: Any, seed: int) -> None:
    trainer._step, trainer._buffered_inputs = 0, None
    set_seed(seed)
    trainer.train()


def measure(options: argparse.Namespace) -> tuple[dict[str, list[tuple[float, float]]], dict[str, int], int]:
    """Return each arm's (step, optimisation) seconds by round, its peak extra bytes, and the tokens of a sequence."""
    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=1024, max_position_embeddings=65536, **SHAPES[options.shape])
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    base = Qwen3ForCausalLM(config).to(options.device, dtype)
    with tempfile.TemporaryDirectory() as folder:
        trainers = {name: build(name, copy.deepcopy(base), options, Path(folder)) for name in ARMS}
        clocks = {name: Clock(trainer) for name, trainer in trainers.items()}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ARMS}
        names = list(ARMS)
        for round_ in range(options.rounds + 1):
            for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
                step(trainers[name], round_)
                if round_:  # the first round warms up, and selects heads
                    times[name].append((clocks[name].step, clocks[name].step - clocks[name].generation))
            made = [[rollout.token_ids for rollout in trainers[name].rollouts_of.rollouts] for name in names]
            assert all(rollouts == made[0] for rollouts in made), "arms must train on the same rollouts"
        memory = {name: peak_extra(functools.partial(step, trainers[name], 0), options.device) for name in ARMS}
        rollout = trainers["plain"].rollouts_of.rollouts[0]
        prompt = len(tiny.build_tokenizer()(rollout.prompt)["input_ids"])
    return times, memory, prompt + len(rollout.token_ids)


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
    times, memory, length = measure(options)
    result: dict[str, float] = {}
    columns = ("step s", "optimisation s", "peak MB", "step", "optimisation", "memory")
    print(" ".join(f"{name:>16}" for name in ("arm", *columns)))
    for name, pairs in times.items():
        ratios = [
            statistics.median(ours[place] / plain[place] for ours, plain in zip(pairs, times["plain"], strict=True))
            for place in (0, 1)
        ]
        ratios.append(memory[name] / memory["plain"])
        seconds = [statistics.median(pair[place] for pair in pairs) for place in (0, 1)]
        figures = [f"{seconds[0]:.3f}", f"{seconds[1]:.3f}", f"{memory[name] / 1e6:.1f}"]
        print(" ".join(f"{value:>16}" for value in (name, *figures, *(f"{one:.4f}" for one in ratios))))
        if name != "plain":
            keys = ("step_ratio", "optimisation_ratio", "memory_ratio")
            result |= {f"{name}.{key}": round(ratio, 4) for key, ratio in zip(keys, ratios, strict=True)}
    for what in ("step_ratio", "optimisation_ratio"):
        often, never = result[f"coupled_reselect.{what}"], result[f"coupled_fused.{what}"]
        result[f"coupled_fused.{what}_with_selection_on_a_quarter"] = round(never + (often - never) / RESELECT_EVERY, 4)
    about = {"benchmark": "credit_overhead", "shape": options.shape, "device": options.device, "tokens": length}
    print(json.dumps({**about, "rollouts": options.rollouts, "rounds": options.rounds, **result}))


if __name__ == "__main__":
    main()
