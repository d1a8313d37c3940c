"""Likeness by a learned probe: an MLP over two sentence embeddings that says whether one restates the other.

arXiv 2602.06600 trains one and does not give its shape; ours reads [q, s, |q - s|, q * s] [ours].
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rl.data import file_rows
from rl.echo.embedding import EchoError, Embedding
from rl.endings import first_line

HIDDEN = 64


class Probe(nn.Module):
    """Say how likely a sentence restates a question, in 0..1."""

    def __init__(self, width: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        self.layers = nn.Sequential(nn.Linear(4 * width, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, questions: Tensor, sentences: Tensor) -> Tensor:
        """Return the logits of (pairs,) for unit vectors of (pairs, width)."""
        features = [questions, sentences, (questions - sentences).abs(), questions * sentences]
        return self.layers(torch.cat(features, -1)).squeeze(-1)


class ProbedLikeness:
    """A probe's likelihood as likeness, for rewards.echoes."""

    def __init__(self, embedding: Embedding, probe: Probe) -> None:
        self.embedding, self.probe = embedding, probe.eval()

    @torch.inference_mode()
    def __call__(self, question: str, sentences: Sequence[str]) -> list[float]:
        """Return how likely each sentence restates the question."""
        if not sentences:
            return []
        asked, said = self.embedding.pairs(question, sentences)
        return self.probe(asked.expand_as(said), said).sigmoid().tolist()


def train_probe(
    embedding: Embedding, pairs: Sequence[tuple[str, str, bool]], *, steps: int = 300, seed: int = 0
) -> Probe:
    """Train a probe on (question, sentence, restates it) by cross-entropy, all pairs in each step of AdamW.

    Raises EchoError where all pairs are of one kind.
    """
    labels = torch.tensor([float(restates) for _, _, restates in pairs])
    if len(pairs) == 0 or labels.min() == labels.max():
        raise EchoError("a probe needs pairs of both kinds: sentences that restate their question, and others")
    questions = embedding.embed([question for question, _, _ in pairs])
    sentences = embedding.embed([sentence for _, sentence, _ in pairs])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        probe = Probe(questions.shape[-1])
    optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=0.01)
    loss = nn.BCEWithLogitsLoss(pos_weight=(1 - labels).sum() / labels.sum())
    for _ in range(steps):
        optimizer.zero_grad()
        loss(probe(questions, sentences), labels).backward()
        optimizer.step()
    return probe.eval()


def read_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """Return the pairs of a file with the columns question, sentence, restates. Raises EchoError and DataError."""
    if not path.is_file():
        raise EchoError(f"{path}: there is no such file")
    if path.suffix.lower() not in (".json", ".jsonl", ".parquet"):
        raise EchoError(f"{path}: should end in .json, .jsonl or .parquet")
    pairs = []
    for where, row in file_rows(str(path)):
        question, sentence, restates = (row.get(name) for name in ("question", "sentence", "restates"))
        if not (isinstance(question, str) and isinstance(sentence, str) and isinstance(restates, bool)):
            raise EchoError(f"{where}: should hold question and sentence, texts, and restates, true or false")
        pairs.append((question, sentence, restates))
    if len({restates for _, _, restates in pairs}) < 2:
        raise EchoError(f"{path}: a probe needs pairs of both kinds, those that restate their question and others")
    return pairs


def hold_out(pairs: Sequence[tuple[str, str, bool]]) -> tuple[list[tuple[str, str, bool]], list[tuple[str, str, bool]]]:
    """Return the pairs to train on, and those of every fifth question to check with."""
    checked = set(list(dict.fromkeys(question for question, _, _ in pairs))[4::5])
    return [pair for pair in pairs if pair[0] not in checked], [pair for pair in pairs if pair[0] in checked]


def accuracy(embedding: Embedding, probe: Probe, pairs: Sequence[tuple[str, str, bool]]) -> float:
    """Return the share of pairs that a probe tells rightly, at a likelihood of a half."""
    likeness = ProbedLikeness(embedding, probe)
    told = [(likeness(question, [sentence])[0] > 0.5) is restates for question, sentence, restates in pairs]
    return sum(told) / len(told)


def save_probe(probe: Probe, path: Path) -> None:
    """Write a probe as safetensors, with its shape."""
    shape = json.dumps({"width": probe.width, "hidden": probe.hidden})
    save_file(probe.state_dict(), path, metadata={"probe": shape})


def load_probe(path: Path, width: int) -> Probe:
    """Read a probe for embeddings of a width. Raises EchoError."""
    try:
        with safe_open(path, "pt") as file:
            shape = json.loads((file.metadata() or {})["probe"])
            probe = Probe(int(shape["width"]), int(shape["hidden"]))
        probe.load_state_dict(load_file(path))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        reason = first_line(error)
        raise EchoError(f"{path}: is no probe that rhythm probe wrote: {reason}") from None
    if probe.width != width:
        raise EchoError(f"{path}: was trained on embeddings of {probe.width} numbers, not of {width}")
    return probe
