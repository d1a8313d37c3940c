"""Likeness by a model: a small one built here, whose cosines are checked, and a probe that learns from pairs."""

import json
from pathlib import Path

import pytest
import torch
from reference.command import rhythm
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from transformers import BertConfig, BertModel

from rewards.echoes import Rule, find
from rl import tiny
from rl.echo.embedding import EchoError, Embedding
from rl.echo.probe import ProbedLikeness, load_probe, save_probe, train_probe

QUESTION = "Tom has 3 apples. How many are left?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of sentence-transformers: one layer of random weights, the mean over its tokens."""
    path = tmp_path_factory.mktemp("embedding")
    tokenizer = tiny.build_tokenizer()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=512,
    )
    BertModel(config).save_pretrained(path / "bert")
    tokenizer.save_pretrained(path / "bert")
    transformer = Transformer(str(path / "bert"))
    model = SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu")
    model.save(str(path / "model"))
    return path / "model"


@pytest.fixture(scope="module")
def embedding(folder: Path) -> Embedding:
    return Embedding(str(folder))


def test_likeness_is_the_cosine(embedding: Embedding, folder: Path) -> None:
    sentences = [QUESTION, "Tom has 3 apples.", "3 + 4 = 7", "%%%%"]
    found = embedding(QUESTION, sentences)
    whole = torch.as_tensor(SentenceTransformer(str(folder), device="cpu").encode([QUESTION, *sentences]))
    expected = torch.nn.functional.cosine_similarity(whole[:1], whole[1:])
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    assert found[0] == pytest.approx(1.0, abs=1e-5) and min(found) < 0.999
    assert embedding(QUESTION, []) == []


def test_an_echo_is_found_by_it(embedding: Embedding) -> None:
    """The first sentence is the question but for its end; what follows has other words."""
    whole = "Tom has 3 apples and how many are left"
    text = f"{whole}.\n%%%% %%%%"
    near, far = embedding(whole, [f"{whole}.", "%%%% %%%%"])
    assert near > far
    found = find(whole, text, Rule(threshold=(near + far) / 2, drop=(near - far) / 2), embedding)
    assert found is not None and text[: found.end] == f"{whole}."
    assert find(whole, f"%%%% %%%%\n{whole}.", Rule(threshold=(near + far) / 2, openers=0), embedding) is None


def test_a_probe_learns_which_sentences_restate(embedding: Embedding, tmp_path: Path) -> None:
    def pair(n: int, restates: bool) -> tuple[str, str, bool]:
        question = f"Tom has {n} apples. How many are left?"
        return (
            question,
            f"The question: Tom has {n} apples." if restates else f"{n} + {n} = {2 * n}, so {2 * n}",
            restates,
        )

    probe = train_probe(embedding, [pair(n, restates) for n in range(24) for restates in (True, False)])
    likeness = ProbedLikeness(embedding, probe)
    for n in (30, 41):
        question, said, _ = pair(n, True)
        high, low = likeness(question, [said, pair(n, False)[1]])
        assert high > 0.9 and low < 0.1
    save_probe(probe, tmp_path / "probe.safetensors")
    again = ProbedLikeness(embedding, load_probe(tmp_path / "probe.safetensors", 32))
    assert again(QUESTION, [QUESTION, "7"]) == likeness(QUESTION, [QUESTION, "7"])
    assert likeness(QUESTION, []) == []
    with pytest.raises(EchoError, match="trained on embeddings of 32 numbers, not of 64"):
        load_probe(tmp_path / "probe.safetensors", 64)


def test_the_command_trains_one(folder: Path, embedding: Embedding, tmp_path: Path) -> None:
    rows = []
    for n in range(30):
        question = f"Tom has {n} apples. How many are left?"
        rows.append({"question": question, "sentence": f"The question: Tom has {n} apples.", "restates": True})
        rows.append({"question": question, "sentence": f"{n} + {n} = {2 * n}, so {2 * n}", "restates": False})
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "probe.safetensors"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = rhythm("probe", pairs, "--model", folder, "--out", out)
    assert done.returncode == 0 and "from 48 pairs; right on those kept back: 1.000 of 12" in done.stdout, done.stderr
    likeness = ProbedLikeness(embedding, load_probe(out, 32))
    assert likeness(QUESTION, ["The question: Tom has 3 apples."])[0] > 0.9
    again = rhythm("probe", pairs, "--model", folder, "--out", out)
    assert again.returncode == 2 and "is never overwritten" in again.stderr
    pairs.write_text('{"question": "q", "sentence": 3, "restates": true}\n', encoding="utf-8")
    bad = rhythm("probe", pairs, "--model", folder, "--out", tmp_path / "other")
    assert bad.returncode == 2 and "pairs.jsonl:1: should hold question and sentence" in bad.stderr


def test_what_is_no_model_or_probe(embedding: Embedding, tmp_path: Path) -> None:
    with pytest.raises(EchoError, match="nowhere: cannot be loaded"):
        Embedding(str(tmp_path / "nowhere"))
    (tmp_path / "bad").write_bytes(b"no tensors")
    with pytest.raises(EchoError, match="is no probe"):
        load_probe(tmp_path / "bad", 32)
    with pytest.raises(EchoError, match="pairs of both kinds"):
        train_probe(embedding, [(QUESTION, QUESTION, True)])
    with pytest.raises(EchoError, match="pairs of both kinds"):
        train_probe(embedding, [])
