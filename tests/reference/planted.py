"""A decoder whose weights are set by hand, so that one head copies the needle: what must find heads must find it."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

NEEDLES, QUERY = range(8, 16), 2  # tokens that are needles, and the one at which a needle is copied
HEAD = (1, 2)
SIZE, HIDDEN, HEADS, KEY_HEADS = 8, 48, 4, 2
MARK, ASKS, COPY = 16, 17, 24  # dimensions: is a needle, asks for one; and where its identity is written, 8 of them


def build() -> LlamaForCausalLM:
    """Return a Llama of 2 layers: head 1.2 attends from QUERY to the needle and writes its token to the logits.

    A token's embedding names it in dimensions 0..15; all other heads and the MLPs do a little of no matter what.
    """
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=HIDDEN,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        head_dim=SIZE,
        rope_parameters={"rope_type": "default", "rope_theta": 1e12},  # the slowest pair of dimensions hardly turns
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=3,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim == 2:
                weights.normal_(std=0.02 if "proj" in name else 0.0)
        _plant(model)
    return model


def _plant(model: LlamaForCausalLM) -> None:
    identity = torch.eye(8)
    embeddings = model.model.embed_tokens.weight
    embeddings[:, :16] = torch.eye(16)
    embeddings[list(NEEDLES), MARK] = 1.0
    embeddings[QUERY, ASKS] = 1.0
    layer, head = HEAD
    attention, own = model.model.layers[layer].self_attn, slice(head * SIZE, (head + 1) * SIZE)
    key_head = head // (HEADS // KEY_HEADS)
    shared = slice(key_head * SIZE, (key_head + 1) * SIZE)
    slowest = SIZE // 2 - 1
    for projection, rows in ((attention.q_proj, own), (attention.k_proj, shared), (attention.v_proj, shared)):
        projection.weight[rows] = 0
    attention.q_proj.weight[own.start + slowest, ASKS] = 3.0
    attention.q_proj.weight[own.stop + slowest, ASKS] = -0.1  # the head beside it, of the same keys, looks away
    attention.k_proj.weight[shared.start + slowest, MARK] = 3.0
    attention.v_proj.weight[shared, 8:16] = identity  # which needle it is
    attention.o_proj.weight[COPY : COPY + 8, own] = 2 * identity
    model.lm_head.weight[list(NEEDLES), COPY : COPY + 8] = identity


def text(needle: int, length: int = 12, place: int = 4) -> list[int]:
    """Return a text with a needle somewhere in it, that ends with QUERY."""
    filler = [4 + index % 4 for index in range(length - 1)]
    filler[place] = needle
    return [*filler, QUERY]
