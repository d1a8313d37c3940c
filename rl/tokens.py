"""What a policy's tokens are: where its reasoning opens, which delimit, where it ends, and how they are drawn."""

import unicodedata
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

OPERATORS = frozenset("-*/%")  # Unicode calls them punctuation; in a calculation they are content


def opens_reasoning(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Say whether the chat template itself writes the opening <think>, so that completions begin behind it."""
    shown = tokenizer.apply_chat_template([{"role": "user", "content": ""}], add_generation_prompt=True, tokenize=False)
    return str(shown).rstrip().endswith("<think>")


def delimiters(tokenizer: PreTrainedTokenizerBase) -> Bool[Tensor, "V"]:
    """Return which tokens of the vocabulary are delimiters: special ones, and those of punctuation and space alone.

    Arithmetic operators count as content.
    """
    size = len(tokenizer)
    texts = tokenizer.batch_decode([[token] for token in range(size)], clean_up_tokenization_spaces=False)
    marks = torch.tensor([all(_delimits(character) for character in text) for text in texts])
    marks[torch.tensor(tokenizer.all_special_ids, dtype=torch.long)] = True
    return marks


def _delimits(character: str) -> bool:
    return unicodedata.category(character)[0] in "PZC" and character not in OPERATORS


def end_ids(model: nn.Module) -> list[int]:
    """Return the tokens at which the model's generation stops."""
    ids: Any = model.generation_config.eos_token_id  # pyright: ignore
    return [] if ids is None else list(ids) if isinstance(ids, list) else [int(ids)]


def decoding(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, temperature: float, top_p: float = 1.0
) -> GenerationConfig:
    """Return how to generate as rollouts are: from the whole distribution, or at temperature 0 greedily.

    A `top_p` below 1 leaves only the likeliest tokens that come to so much.

    All is said, since what is not would come from the model's own generation_config, such as a top_k.
    """
    sampling = {"temperature": temperature, "top_k": 0, "top_p": top_p, "min_p": 0.0, "typical_p": 1.0}
    return GenerationConfig(
        do_sample=temperature > 0,
        **(sampling if temperature > 0 else {}),
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        num_beams=1,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=end_ids(model) or [int(tokenizer.eos_token_id)],  # pyright: ignore
    )
