"""What a text that has no needle planted copies: the needle that retrieval is scored on."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def repeated(ids: Int[Tensor, "B T"], mask: Int[Tensor, "B T"], response: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """Return the prompt's tokens that the response writes again, each as the place where the prompt has it first.

    -1 elsewhere. A head that looks at any of a token's places has found it [ours].
    """
    prompt = mask.bool() & ~response
    numbers = torch.full_like(ids, -1)
    for row, here, own, number in zip(ids, prompt, response, numbers, strict=True):
        kept = here & torch.isin(row, row[own])
        places = kept.nonzero().flatten()
        first: dict[int, int] = {}
        for place, token in zip(places.tolist(), row[places].tolist(), strict=True):
            first.setdefault(token, place)
            number[place] = first[token]
    return numbers
