"""The embedded model: a byte-level BPE tokenizer and a small Qwen3 decoder, both built in code."""

from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

PAD, IM_START, IM_END = "<|pad|>", "<|im_start|>", "<|im_end|>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
VOCAB_SIZE = 600  # at most: the corpus runs out of merges at 582
CONTEXT = 512
NUM_LAYERS = 6

# A digit stands alone. An operator takes the spaces on both its sides, and a word or a mark takes a space that leads
# to a number, so that "3 + 8 = 11" is six tokens and a number looks the same wherever it stands.
SPLIT = r"\d| [+\-=] | ?\p{L}+(?: (?=-?\d))?| ?[^\s\p{L}\d]+(?: (?=-?\d))?|\s+"

CORPUS = """\
system
user
assistant
You are a helpful assistant. You think first and then give the answer.
State the final answer to the following arithmetic problem: 0 + 1 - 2 =
State the final answer to the following arithmetic problem: 3 - 4 + 5 =
The problem asks for 1 + 2. The problem asks for -1. We need 1 - 2. I have to find 1 + 2. Let me work out 1 - 2.
The task is 1 + 2. Here we have 1 - 2. Let me see. Okay, step by step. Let me think. Now to work. Well, here we go.
First 1 + 2 = 3. Then 3 - 4 = -1. Next 1 + 2 = 3. Now 1 - 2 = -1. After that 1 + 2 = 3. Start with 1 + 2 = 3.
To begin, 1 + 2 = 3. And 1 + 2 = 3. Finally 1 + 2 = 3. The added terms make 1 + 2 = 3. The taken away terms make 1.
Adding up 1 + 2 = 3. Taking away 1 + 2 = 3. Together 1 - 2 = -1. In all 1 - 2 = -1. \
The plus part is 1. The minus part is 1.
No, 1 + 2 = 3. Wait, 1 + 2 = 3. That is wrong, 1 + 2 = 3. Hmm, no: 1 + 2 = 3.
So the answer is 1. So it is 1. That makes 1. The result is 1. This gives 1. We get 1.
I can do this in my head and it comes to about 1. That looks like about 1 to me. No need for steps, it should be 1.
A quick guess says 1. It must be close to 1. I would say 1 and move on. At a glance this is 1. The rest is roughly 1.
The rest I do in my head, about 1. From there it looks like 1. Skipping ahead, it should be 1.
"""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}"
    "{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Train the byte-level BPE on CORPUS; the same ids come out every time, and any UTF-8 text round-trips."""
    return train_tokenizer(CORPUS, SPLIT, VOCAB_SIZE, CONTEXT)


def build_model(seed: int) -> Qwen3ForCausalLM:
    """Return a fresh Qwen3 of 6 layers and 333,184 parameters, initialised from seed.

    The wide initialisation is what lets so small a model learn to copy within a few hundred steps.
    """
    return build_decoder(
        build_tokenizer(),
        seed,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        initializer_range=0.1,
    )


def train_tokenizer(corpus: str, split: str, size: int, context: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of at most `size` tokens on a corpus, which `split` cuts into what merges stay within.

    The tags are ordinary tokens, so that decoding without special tokens keeps them.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(TAGS),
        special_tokens=[PAD, IM_START, IM_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus.splitlines(keepends=True), trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=IM_END,
        additional_special_tokens=[IM_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def build_decoder(tokenizer: PreTrainedTokenizerFast, seed: int, **shape: Any) -> Qwen3ForCausalLM:
    """Return a fresh Qwen3 of a shape (fields of Qwen3Config) for a tokenizer, initialised from seed."""
    pad, end = (tokenizer.convert_tokens_to_ids(token) for token in (PAD, IM_END))
    assert isinstance(pad, int) and isinstance(end, int)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=tokenizer.model_max_length,
        tie_word_embeddings=True,
        use_cache=True,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=end,
        dtype="float32",
        **shape,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)
