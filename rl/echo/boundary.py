"""Where a stretch of characters stands in tokens."""

from transformers import PreTrainedTokenizerBase


def token_span(
    tokenizer: PreTrainedTokenizerBase, text: str, characters: tuple[int, int]
) -> tuple[list[int], tuple[int, int]]:
    """Return a text's tokens, and the (start, stop) of those that begin within `characters`.

    A token across the end, such as a space with the word behind it, belongs to what follows unless it begins before.
    Raises ValueError for a tokenizer that does not say where its tokens stand.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not say where its tokens stand; take a fast tokenizer")
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    starts = [begin for begin, _ in found["offset_mapping"]]  # pyright: ignore
    first = sum(begin < characters[0] for begin in starts)
    last = sum(begin < characters[1] for begin in starts)
    return list(found["input_ids"]), (first, last)  # pyright: ignore
