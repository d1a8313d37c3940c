"""Which tokens are sinks, by hand, and what leaving them out does to a head's mean distance."""

import torch
from reference import models
from torch import nn

from rl.attention import find_sinks, head_scores
from rl.attention.measure import read
from rl.attention.readers import ScoreReader
from rl.attention.sinks import SinkReader
from rl.attention.structure import decoder_layers


def test_golden_sinks() -> None:
    """Token 1 is the first that is no padding. Token 3 follows its direction in 5 layers, token 4 in only 4.

    Token 2 points the other way in all of them, which counts too; token 5 is padding.
    """
    reader = SinkReader(torch.tensor([[False, True, True, True, True, False]]))
    up, right = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.1])
    reader.start(1)
    for layer in range(6):
        hidden = [right, up * 2, -up, up if layer < 5 else right, up * 3 if layer < 4 else right, up]
        reader.read(torch.stack(hidden)[None])
    assert reader.sinks().tolist() == [[False, True, True, True, False, False]]


def test_a_model_whose_tokens_all_agree_is_all_sinks() -> None:
    """Six layers whose embeddings dwarf what they add: equal tokens keep the first one's direction, others do not."""
    model = models.build("llama", num_hidden_layers=6)
    nn.init.orthogonal_(model.model.embed_tokens.weight)
    model.model.embed_tokens.weight.data.mul_(1e4)
    ids = torch.tensor([[0, 0, 5, 6, 5, 7], [3, 4, 3, 3, 8, 9]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]])
    expected = [[False, False, True, False, True, False], [True, False, True, True, False, False]]
    assert find_sinks(model, ids, mask, last_layer=5).tolist() == expected
    assert find_sinks(model, ids, mask, last_layer=5, micro_batch=1).tolist() == expected
    first_alone = [[False, False, True, False, False, False], [True, False, False, False, False, False]]
    assert find_sinks(model, ids, mask, last_layer=3).tolist() == first_alone  # only four layers to count
    assert len(decoder_layers(model)) == 6 and not decoder_layers(model)[0]._forward_hooks


def test_distance_without_sinks() -> None:
    """Without token 0, a head's distance is the mean over the attention that its rows have left."""
    model = models.build("qwen3")
    ids = torch.randint(3, 64, (2, 40), generator=torch.Generator().manual_seed(0))
    mask, response = torch.ones_like(ids), torch.ones_like(ids)
    response[:, :10] = 0
    excluded = torch.zeros(2, 40, dtype=torch.bool)
    excluded[:, 0] = True
    reader = ScoreReader(response.bool(), excluded=excluded)
    read(model, ids, mask, [1], reader)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        a = model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions[1].double()
    place = torch.arange(40)
    far = (place[:, None] - place[None, :]).clamp_min(0)
    kept = a[:, :, 10:, 1:]
    expected = (kept * far[10:, 1:]).sum((0, 2, 3)) / kept.sum((0, 2, 3))
    found = reader.scores()[1].distance
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)
    assert (found < head_scores(model, ids, mask, response, layers=[1])[1].distance).all()
