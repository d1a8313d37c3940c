"""The policy and its tokenizer: embedded, from a local folder, or from the hub; plain or with LoRA adapters."""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import deepspeed
from transformers.utils.import_utils import is_flash_attn_2_available

from rl import small, tiny
from rl.critic import Critic
from rl.endings import first_line

EMBEDDED = {"tiny": tiny, "small": small}
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
Dtype = Literal["float32", "bfloat16", "float16"]


class ModelError(ValueError):
    """Say why a model cannot be used, and what would do."""


def check_source(name: str, *, weights: bool = True) -> None:
    """Raise ModelError where name is a local folder that holds no model; hub names are checked when they are loaded.

    A model that is only traced needs no `weights`.
    """
    if name in EMBEDDED:
        return
    try:
        folder = Path(name).expanduser()
    except RuntimeError as error:
        raise ModelError(f"model.name: {name}: {error}") from None
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or folder.exists():
            raise ModelError(
                f"model.name: {name} is no folder; name a model folder, a hub model, or {' or '.join(EMBEDDED)}"
            )
        return
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"model.name: {name} holds a PEFT adapter alone; merge it into its base model first")
    if not (folder / "config.json").is_file():
        raise ModelError(f"model.name: {name} has no config.json; it should be a folder that save_pretrained wrote")
    if weights and not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        raise ModelError(f"model.name: {name} has a config.json but no weights (*.safetensors); copy them there")
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"model.name: {file} is no whole safetensors file ({error}); copy it again") from None


def check_attention(implementation: str) -> None:
    """Raise ModelError where an attention implementation is not installed."""
    if implementation == "flash_attention_2" and not is_flash_attn_2_available():
        raise ModelError("model.attention: flash_attention_2 is not installed here; use sdpa, or install flash-attn")


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model, with a padding token and a chat template."""
    if name in EMBEDDED:
        return EMBEDDED[name].build_tokenizer()
    if Path(name).is_dir() and not any((Path(name) / file).is_file() for file in TOKENIZERS):
        raise ModelError(f"model.name: {name} holds no tokenizer (such as {TOKENIZERS[0]}); copy the model's there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"model.name: cannot load a tokenizer from {name}: {first_line(error)}") from None
    if tokenizer.chat_template is None:
        raise ModelError(
            f"model.name: the tokenizer of {name} has no chat template; take an instruct model's tokenizer"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@dataclass(frozen=True)
class Shape:
    """Hold what must be known of a model before it is loaded: its context in tokens, and its number of layers."""

    context: int
    num_layers: int


def read_shape(name: str, revision: str | None = None) -> Shape:
    """Read a model's shape from its config. Raises ModelError."""
    if name in EMBEDDED:
        return Shape(EMBEDDED[name].CONTEXT, EMBEDDED[name].NUM_LAYERS)
    try:
        config = AutoConfig.from_pretrained(name, revision=revision).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"model.name: cannot load the config of {name}: {first_line(error)}") from None
    context = getattr(config, "max_position_embeddings", None) or 1 << 30
    return Shape(int(context), int(config.num_hidden_layers))


def write_base(name: str, seed: int, folder: Path) -> str:
    """Write an embedded model as an ordinary model folder and return its path; other models stay where they are."""
    if name not in EMBEDDED:
        return name
    if not (folder / "config.json").is_file():
        EMBEDDED[name].build_model(seed).save_pretrained(folder)
        EMBEDDED[name].build_tokenizer().save_pretrained(folder)
    return str(folder)


def load_trained(name: str) -> PreTrainedModel | PeftModel:
    """Load a policy to generate with: what load_policy takes, or a folder of LoRA adapters. Raises ModelError."""
    folder = Path(name)
    if not (folder / "adapter_config.json").is_file():
        return load_policy(name)
    base = folder.parent.parent / "base"  # the run's own, wherever the run has been moved to
    try:
        if (base / "config.json").is_file():
            return PeftModel.from_pretrained(load_policy(str(base)), name)
        return AutoPeftModelForCausalLM.from_pretrained(name)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{name}: the adapter or its base model cannot be loaded: {first_line(error)}") from None


def load_outline(name: str) -> PreTrainedModel:
    """Return what load_trained would, without its weights: enough to know how it is asked. Raises ModelError."""
    folder = Path(name)
    if (folder / "adapter_config.json").is_file():
        own = folder.parent.parent / "base"
        name = str(own) if (own / "config.json").is_file() else _base_of(folder)
    try:
        config = AutoConfig.from_pretrained(name)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"model.name: cannot load the config of {name}: {first_line(error)}") from None
    with contextlib.suppress(OSError):  # many models have none, and take it from their config
        model.generation_config = GenerationConfig.from_pretrained(name)
    return model


def _base_of(adapter: Path) -> str:
    try:
        return str(PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{adapter}: the adapter's config cannot be read: {first_line(error)}") from None


@contextmanager
def unpartitioned() -> Iterator[None]:
    """Load models inside whole, also where ZeRO-3 would share them out over the processes."""
    known = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = known


def load_policy(
    name: str,
    *,
    revision: str | None = None,
    dtype: Dtype = "float32",
    attention: str = "sdpa",
) -> PreTrainedModel:
    """Load a causal language model from a folder or the hub. Raises ModelError."""
    try:
        return AutoModelForCausalLM.from_pretrained(
            name,
            revision=revision,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,  # nothing of a stranger's is unpickled
        )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(f"model.name: cannot load {name}: {first_line(error)}") from None


def load_critic(name: str, revision: str | None, dtype: Dtype, attention: str) -> Critic:
    """Return a critic of its own whose network starts as a language model's. Raises ModelError."""
    try:
        return own_critic(load_policy(name, revision=revision, dtype=dtype, attention=attention))
    except ModelError as error:
        raise ModelError(str(error).replace("model.name:", "critic.model:", 1)) from None


def own_critic(model: PreTrainedModel | PeftModel) -> Critic:
    """Return a critic whose network is a language model's trunk, adapters merged into it."""
    network = model.merge_and_unload() if isinstance(model, PeftModel) else model  # pyright: ignore
    network.requires_grad_(True)
    return Critic(hidden_size(network), network.base_model)


def hidden_size(model: nn.Module) -> int:
    """Return the size of the states that a policy's trunk ends with."""
    return int(model.get_output_embeddings().in_features)  # pyright: ignore


def check_critic(name: str, revision: str | None, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ModelError where a critic of this name could not read what the policy writes."""
    try:
        check_source(name)
        own = load_tokenizer(name, revision)
    except ModelError as error:
        raise ModelError(str(error).replace("model.name:", "critic.model:", 1)) from None
    if own.get_vocab() != tokenizer.get_vocab():
        raise ModelError(
            f"critic.model: {name} has another vocabulary than the policy, whose token ids it would misread; "
            "take a model of the policy's family, or critic: {model: policy}"
        )


def add_lora(
    policy: PreTrainedModel,
    *,
    rank: int,
    alpha: int,
    dropout: float,
    targets: str | Sequence[str],
    adapter: Path | None = None,
) -> PeftModel:
    """Wrap the policy in trainable LoRA adapters: fresh ones, or those an earlier stage saved in adapter."""
    if adapter is not None:
        return PeftModel.from_pretrained(policy, adapter, is_trainable=True)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(policy, config)  # pyright: ignore
    except ValueError as error:
        raise ModelError(f"model.lora.targets: {first_line(error)}") from None


def build_skeleton(name: str, revision: str | None, attention: str, dtype: Dtype = "bfloat16") -> PreTrainedModel:
    """Return the model with random weights, to be traced: build it in a fake tensor mode, where it costs nothing."""
    embedded = EMBEDDED.get(name)
    config = embedded.build_model(0).config if embedded else AutoConfig.from_pretrained(name, revision=revision)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=getattr(torch, dtype))


def check_lora(name: str, revision: str | None, **shape: Any) -> None:
    """Raise ModelError where the model has no modules for LoRA adapters of this shape; builds no weights."""
    if name in EMBEDDED:
        add_lora(EMBEDDED[name].build_model(0), **shape)
        return
    with torch.device("meta"):
        add_lora(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(name, revision=revision)), **shape)
