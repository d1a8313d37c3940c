"""The larger embedded model: eight layers, and a tokenizer that has the words of searches for Countdown."""

from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from rl.tiny import CORPUS, SPLIT, build_decoder, train_tokenizer

VOCAB_SIZE = 800  # at most
CONTEXT = 1024
NUM_LAYERS = 8

SPLIT_ALSO = SPLIT.replace(r" [+\-=] ", r" [+\-*/=] ")
CORPUS_ALSO = """\
Find a way to make 12 using all of these numbers: 3, 4, 5. Each number can only be used once.
Calculate 12 using all of these numbers: 3, 4, 5. Each number may be used at most once.
Using all the numbers 3, 4, 5, create an expression that equals 12. You can only use each number once.
Final answer format instructions:
1. Provide your solution as a arithmetic expression (no '=' sign).
2. Do not include the target number in the expression.
3. Use '*' for multiplication.
4. Use '/' for division.
5. Do not include any other text or formatting.
We have 3, 4, 5 and need 12. Try 3 + 4 = 7 with 5: 7 + 5 = 12, 7 - 5 = 2, 7 * 5 = 35, 8 / 4 = 2, yes. Now no. I give up.
So it is (3 + 4) * 5. So it is 3 + (4 - 5). (3 * 4) + 5, (3 / 4) - 5, (3 - 4) / 5.
"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Train the byte-level BPE on the corpora; the same ids come out every time, and any UTF-8 text round-trips."""
    return train_tokenizer(CORPUS + CORPUS_ALSO, SPLIT_ALSO, VOCAB_SIZE, CONTEXT)


def build_model(seed: int) -> Qwen3ForCausalLM:
    """Return a fresh Qwen3 of 8 layers and about 10 million parameters, initialised from seed."""
    return build_decoder(
        build_tokenizer(),
        seed,
        hidden_size=320,
        intermediate_size=1024,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=40,
        initializer_range=0.03,
    )
