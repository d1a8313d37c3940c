"""The larger embedded model: eight layers, and a tokenizer that has the words of searches for Countdown."""

from transformers import AddedToken, PreTrainedTokenizerFast, Qwen3ForCausalLM

from rl.tiny import CORPUS, SPLIT, build_decoder, train_tokenizer

VOCAB_SIZE = 1000  # at most: the corpora run out of merges at 734
CONTEXT = 1024
NUM_LAYERS = 8

# A number of two digits is one token, so that a sum is a fact and no calculation digit by digit.
SPLIT_ALSO = SPLIT.replace(r"\d|", r"\d\d?|", 1).replace(r" [+\-=] ", r" [+\-*/=] ")
NUMBERS = " ".join(map(str, range(100))) + "\n"
# What every task of reasoning-gym's countdown ends with, a token a line: more than half of its prompt otherwise.
INSTRUCTIONS = (
    "\nFinal answer format instructions:",
    "\n1. Provide your solution as a arithmetic expression (no '=' sign).",
    "\n2. Do not include the target number in the expression.",
    "\n3. Use '*' for multiplication.",
    "\n4. Use '/' for division.",
    "\n5. Do not include any other text or formatting.",
)
CORPUS_ALSO = """\
Find a way to make 12 using all of these numbers: 3, 4, 5. Each number can only be used once.
Calculate 12 using all of these numbers: 3, 4, 5. Each number may be used at most once.
Using all the numbers 3, 4, 5, create an expression that equals 12. You can only use each number once.
We have 3, 4, 5 and need 12. Try 3 + 4 = 7 with 5: 7 + 5 = 12, 3? no; 7 - 5 = 2, 3? no; 7 * 5 = 35, 8 / 4 = 2, 2? yes. \
I give up. So it is unknown.
So it is (3 + 4) * 5. So it is 3 + (4 - 5). (3 * 4) + 5, (3 / 4) - 5, (3 - 4) / 5.
"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Train the byte-level BPE on the corpora; the same ids come out every time, and any UTF-8 text round-trips."""
    tokenizer = train_tokenizer(CORPUS + CORPUS_ALSO + NUMBERS, SPLIT_ALSO, VOCAB_SIZE, CONTEXT)
    tokenizer.add_tokens([AddedToken(line, special=False, normalized=False) for line in INSTRUCTIONS])
    return tokenizer


def build_model(seed: int) -> Qwen3ForCausalLM:
    """Return a fresh Qwen3 of 8 layers and about 10 million parameters, initialised from seed.

    The initialisation is wide, as the smaller one's: with 0.03 it learns to calculate much later.
    """
    return build_decoder(
        build_tokenizer(),
        seed,
        hidden_size=320,
        intermediate_size=1024,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=40,
        initializer_range=0.08,
    )
