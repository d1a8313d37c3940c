"""Where a stretch of characters stands in tokens."""

from transformers import PreTrainedTokenizerBase


def token_span(
    tokenizer: PreTrainedTokenizerBase, text: str, characters: tuple[int, int]
) -> tuple[list[int], tuple[int, int]]:
    """Return a text's tokens, and the (start, stop) of those that hold any of `characters`.

    A token across the end that begins before, such as a mark with what it closes, is one of them; a space with the word
    behind it is what follows. Raises ValueError for a tokenizer that does not say where its tokens stand.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not say where its tokens stand; take a fast tokenizer")
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets: list[tuple[int, int]] = found["offset_mapping"]  # pyright: ignore
    first = next((place for place, (_, end) in enumerate(offsets) if end > characters[0]), len(offsets))
    last = next((place for place, (start, _) in enumerate(offsets) if start >= characters[1]), len(offsets))
    return list(found["input_ids"]), (first, max(first, last))  # pyright: ignore
