"""Sentence spans in tokens against the characters they stand for, whatever the tokens cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rewards.sentences import split
from rl import tiny
from rl.sentences import sentence_spans, spans_of_ids

TOKENIZER = tiny.build_tokenizer()
TEXT = "We need 1 + 2. Let me see!\n\nIs it 3?  \u6211\u4eec\u6765\u770b\u3002\u662f\u7684\u3002 It is \U0001f600."


def ids_of(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def words_of(ids: list[int], spans: list[tuple[int, int]]) -> list[str]:
    return [TOKENIZER.decode(ids[start:stop]).strip() for start, stop in spans]


def test_spans_hold_their_sentences_though_tokens_cut_characters() -> None:
    want = [TEXT[one.start : one.end] for one in split(TEXT)]
    ids = ids_of(TEXT)
    assert len(want) == 6 and len(ids_of("\u6211")) == 3  # a character is three tokens
    for spans in (sentence_spans(TOKENIZER, TEXT), spans_of_ids(TOKENIZER, ids)):
        assert words_of(ids, spans) == want


def test_special_tokens_are_nobodys() -> None:
    """A completion's end token belongs to no sentence, nor does what a special token parts."""
    end = TOKENIZER.eos_token_id
    first, second = ids_of("So it is 3."), ids_of("Then 4")
    assert spans_of_ids(TOKENIZER, [*first, end]) == [(0, len(first))]
    ids = [*second, end, *first, end, end]
    assert spans_of_ids(TOKENIZER, ids) == [(0, len(second)), (len(second) + 1, len(second) + 1 + len(first))]
    assert spans_of_ids(TOKENIZER, [end]) == spans_of_ids(TOKENIZER, []) == []


def test_a_broken_character_costs_no_sentence() -> None:
    """A policy may write bytes that are no text, in the middle and at the end."""
    broken = ids_of("\u6211")[:2]
    ids = [*ids_of("Go."), *ids_of("\n"), *broken, *broken, *ids_of(" on. Well 1"), *broken]
    spans = spans_of_ids(TOKENIZER, ids)
    assert words_of(ids, spans)[0] == "Go." and len(spans) == 3 and spans[-1][1] == len(ids)
    assert len(spans_of_ids(TOKENIZER, broken * 50)) == 1


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.text(alphabet="a\u6211\U0001f600 7\n.?!", max_size=40))
def test_both_ways_agree_on_any_text(text: str) -> None:
    ids = ids_of(text)
    spans = spans_of_ids(TOKENIZER, ids)
    assert spans == sentence_spans(TOKENIZER, text)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    assert all(start < stop for start, stop in spans)


def test_a_tokenizer_that_swallows_the_first_space() -> None:
    """Metaspace decoders, as Llama's and Gemma's, leave out the space before what they decode."""
    words = ["\u2581Go", "\u2581on", ".", "\u2581Then", "\u2581stop"]
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate([*words, "<unk>"])}, "<unk>"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    assert tokenizer.decode([1, 2]) == "on."
    assert spans_of_ids(tokenizer, [0, 1, 2, 3, 4, 2, 0]) == [(0, 3), (3, 6), (6, 7)]


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="Slow does not say where its tokens stand"):
        sentence_spans(Slow(), "a")  # type: ignore[arg-type]
