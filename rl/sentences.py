"""Where the sentences of a text stand in its tokens."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from rewards.sentences import split

Span = tuple[int, int]
UNKNOWN = "\ufffd"  # what a tokenizer decodes a part of a character to
LONGEST_CHARACTER = 4  # bytes, and so tokens, of one character in UTF-8


def sentence_spans(tokenizer: PreTrainedTokenizerBase, text: str) -> list[Span]:
    """Return the (start, stop) of each sentence in the tokens of a text, which overlap nowhere.

    A token across two sentences is the first one's; space between sentences is nobody's. Raises ValueError for a
    tokenizer that does not say where its tokens stand.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not say where its tokens stand; take a fast tokenizer")
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return _spans(text, found["offset_mapping"])  # pyright: ignore


def spans_of_ids(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[Span]:
    """Return the (start, stop) of each sentence in given tokens, such as a completion's, which overlap nowhere.

    Tokens that share a character stand where it stands. Special tokens are nobody's, and end a sentence.
    """
    special = set(tokenizer.all_special_ids)
    texts: list[str] = []
    offsets: list[Span] = []
    place = start = 0
    while start < len(ids):
        stop = next((index for index in range(start, len(ids)) if ids[index] in special), len(ids))
        for text, count in _told(tokenizer, list(ids[start:stop])):
            texts.append(text)
            offsets += [(place, place + len(text))] * count
            place += len(text)
        if stop < len(ids):
            texts.append("\n")
            offsets.append((place, place + 1))
            place += 1
        start = stop + 1
    return _spans("".join(texts), offsets)


def _told(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[tuple[str, int]]:
    """Return what tokens say, in pieces of whole characters, each with how many tokens it takes.

    A piece is decoded behind the one before it, since some tokenizers leave out the space in front of the first token.
    """
    pieces: list[tuple[str, int]] = []
    before = read = 0
    known = ""
    for stop in range(1, len(ids) + 1):
        text = str(tokenizer.decode(list(ids[before:stop]), clean_up_tokenization_spaces=False))
        part = text.endswith(UNKNOWN) and stop < len(ids) and stop - read < LONGEST_CHARACTER
        if part:
            continue
        pieces.append((text[len(known) :], stop - read))
        before, read = read, stop
        known = str(tokenizer.decode(list(ids[before:read]), clean_up_tokenization_spaces=False))
    return pieces


def _spans(text: str, offsets: Sequence[Span]) -> list[Span]:
    """Return the tokens of each sentence, given where each token stands in the characters of the text."""
    spans: list[Span] = []
    place = 0
    for sentence in split(text):
        start = place
        while start < len(offsets) and offsets[start][1] <= sentence.start:
            start += 1
        place = start
        while place < len(offsets) and offsets[place][0] < sentence.end:
            place += 1
        if start < place:
            spans.append((start, place))
    return spans
