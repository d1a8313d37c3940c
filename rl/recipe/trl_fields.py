"""What a recipe's `trl:` may hold: TRL's own config fields, read from its source, since importing it takes seconds."""

import ast
import functools
import importlib.util
from pathlib import Path

# Fields of TRL's configs that a recipe says in its own words; None: rhythm decides them from the run itself.
OWNED: dict[str, str | None] = {
    "max_steps": "steps",
    "num_train_epochs": "steps",
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warmup_steps",
    "max_grad_norm": "max_grad_norm",
    "per_device_train_batch_size": "micro_batch",
    "gradient_accumulation_steps": "micro_batch",
    "steps_per_generation": "micro_batch",
    "generation_batch_size": "prompts_per_step",
    "num_generations": "num_generations",
    "max_completion_length": "max_completion_length",
    "temperature": "temperature",
    "beta": "beta",
    "epsilon": "epsilon",
    "num_iterations": "num_iterations",
    "loss_type": "loss_type",
    "max_length": "max_length",
    "packing": "packing",
    "packing_strategy": "packing",
    "padding_free": "packing",
    "reward_weights": "rewards.parts",
    "multi_objective_aggregation": "rewards.combine",
    "seed": "seed",
    "data_seed": "seed",
    "gradient_checkpointing": "model.gradient_checkpointing",
    "model_init_kwargs": "model",
    "trust_remote_code": "model",
    "save_steps": "checkpoints.every",
    "save_strategy": "checkpoints.every",
    "save_total_limit": "checkpoints.keep",
    "report_to": "telemetry.wandb",
    "run_name": "name",
    "bf16": "cluster.precision",
    "fp16": "cluster.precision",
    "deepspeed": "cluster.zero",
    "use_vllm": "cluster.vllm.mode",
    "vllm_mode": "cluster.vllm.mode",
    "vllm_server_base_url": "cluster.vllm.url",
    "vllm_server_host": "cluster.vllm.url",
    "vllm_server_port": "cluster.vllm.port",
    "vllm_server_timeout": "cluster.vllm.startup_minutes",
    "vllm_gpu_memory_utilization": "cluster.vllm.memory_share",
    "vllm_tensor_parallel_size": "cluster.vllm.tensor_parallel",
    "ddp_timeout": "guard.step_minutes",
    "ddp_backend": None,
    "use_cpu": None,
    "logging_nan_inf_filter": None,
    "output_dir": None,
    "logging_steps": None,
    "logging_strategy": None,
    "logging_first_step": None,
    "disable_tqdm": None,
    "train_sampling_strategy": "order",
    "completion_only_loss": None,
    "resume_from_checkpoint": None,
    "push_to_hub": None,
    "log_completions": None,
    "remove_unused_columns": None,
    "shuffle_dataset": "order",
    "save_only_model": None,
    "eval_strategy": None,
    "do_eval": None,
    "enable_jit_checkpoint": None,
    "auto_find_batch_size": None,
    "ignore_data_skip": None,
    "load_best_model_at_end": None,
}

CONFIG_FILES = {
    "sft": ("trl/trainer/sft_config.py", "trl/trainer/base_config.py", "transformers/training_args.py"),
    "grpo": ("trl/trainer/grpo_config.py", "trl/trainer/base_config.py", "transformers/training_args.py"),
    "ppo": ("trl/trainer/grpo_config.py", "trl/trainer/base_config.py", "transformers/training_args.py"),
}


@functools.cache
def config_fields(kind: str) -> frozenset[str]:
    """Return the fields of the TRL config behind a trainer kind, TrainingArguments included, without importing it."""
    return frozenset(name for file in CONFIG_FILES[kind] for name in _dataclass_fields(file))


def _dataclass_fields(file: str) -> set[str]:
    package, _, rest = file.partition("/")
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None, f"{package} is a dependency of rhythm"
    module = ast.parse((Path(spec.origin).parent / rest).read_text(encoding="utf-8"))
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    return {
        statement.target.id
        for node in classes
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }


# Fields that a trainer kind has no use for, though TRL's config behind it has them.
UNUSED = {
    "ppo": {
        "scale_rewards": "has no effect: advantages are whitened, not scaled by group; see `whiten`",
        "sync_ref_model": "is not to be had with a critic; the reference stays the stage's first policy",
    }
}
RENAMED = {"ppo": {"beta": "kl.weight"}}


def reason_to_refuse(kind: str, field: str) -> str | None:
    """Say why `trl: {field: ...}` cannot be passed through; None where it can."""
    from rl.recipe.faults import suggestion

    if reason := UNUSED.get(kind, {}).get(field):
        return reason
    if key := RENAMED.get(kind, {}).get(field):
        return f"is said by the recipe's own key `{key}`; set that"
    if field in OWNED:
        key = OWNED[field]
        return f"is said by the recipe's own key `{key}`; set that" if key else "is decided by rhythm; leave it out"
    fields = config_fields(kind)
    return None if field in fields else f"TRL's {kind} config has no such field{_short(suggestion(field, fields))}"


def _short(text: str) -> str:
    return text if len(text) < 80 else ""
