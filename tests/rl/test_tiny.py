"""The embedded models: the same every time, small, and able to hold any text."""

import subprocess
import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl import small, tiny
from rl.data import from_reasoning_gym

TOKENIZER, LARGER = tiny.build_tokenizer(), small.build_tokenizer()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text())
def test_any_text_round_trips(text: str) -> None:
    for tokenizer in (TOKENIZER, LARGER):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_the_tokenizer_is_the_same_in_every_process(name: str) -> None:
    code = (
        f"import json; from rl.{name} import build_tokenizer as b; print(json.dumps(b().get_vocab(), sort_keys=True))"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout for _ in "ab"
    }
    assert len(runs) == 1


def test_tags_are_ordinary_tokens_and_digits_stand_alone() -> None:
    text = "<think>12 + 3 = 15.</think><answer>15</answer>"
    ids = TOKENIZER(text)["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text
    tokens = TOKENIZER.convert_ids_to_tokens(ids)
    assert [token for token in tokens if token in tiny.TAGS] == list(tiny.TAGS)
    assert all(len(token) == 1 for token in tokens if any(letter.isdigit() for letter in token))


def test_the_chat_template_marks_what_the_assistant_says() -> None:
    messages = [{"role": "user", "content": "1 + 1"}, {"role": "assistant", "content": "<answer>2</answer>"}]
    out = TOKENIZER.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    said = [token for token, on in zip(out["input_ids"], out["assistant_masks"], strict=True) if on]
    assert TOKENIZER.decode(said) == "<answer>2</answer><|im_end|>"
    prompt = TOKENIZER.apply_chat_template(messages[:1], add_generation_prompt=True, tokenize=False)
    assert prompt == "<|im_start|>user\n1 + 1<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(("model", "parameters"), [(tiny, 333_184), (small, 10_564_800)])
def test_the_model_is_small_and_made_from_its_seed(model: ModuleType, parameters: int) -> None:
    one, again, other = model.build_model(0), model.build_model(0), model.build_model(1)
    assert sum(parameter.numel() for parameter in one.parameters()) == parameters
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert one.config.num_hidden_layers == model.NUM_LAYERS and one.config.max_position_embeddings == model.CONTEXT


def test_building_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    want = torch.rand(1)
    torch.manual_seed(5)
    tiny.build_model(0)
    assert torch.rand(1) == want


def test_the_larger_one_reads_a_search_in_few_tokens() -> None:
    """A word, a number of two digits, an operator with its spaces and a line of instructions are a token each."""
    text = "no. Try 12 / 4 = 3 with 7: 7 * 3 = 21, no. I give up."
    tokens = [LARGER.decode([token]) for token in LARGER(text, add_special_tokens=False)["input_ids"]]
    assert tokens[3:12] == [" Try ", "12", " / ", "4", " = ", "3", " with ", "7", ": "]
    assert len(tokens) == 24
    (task,) = from_reasoning_gym("countdown", 1, 0, {"min_numbers": 3, "max_numbers": 3})
    asked = LARGER(task.question, add_special_tokens=False)["input_ids"]
    assert len(asked) < 40 and set(small.INSTRUCTIONS) <= {LARGER.decode([token]) for token in asked}
