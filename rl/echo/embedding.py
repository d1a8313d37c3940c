"""Likeness as the cosine of two sentence embeddings (arXiv 2602.06600), of any model of sentence-transformers."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from rl.endings import first_line


class EchoError(ValueError):
    """Say why likeness cannot be told, and what would do."""


class Embedding:
    """Embed sentences; the last question's embedding is kept. Raises EchoError where the model cannot be had."""

    def __init__(self, name: str) -> None:
        if find_spec("sentence_transformers") is None:
            raise EchoError("sentence-transformers is not installed here; pip install 'rhythm-rl[echo]'")
        from sentence_transformers import SentenceTransformer

        try:
            self._model: Any = SentenceTransformer(name)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            reason = first_line(error)
            raise EchoError(f"{name}: cannot be loaded as a model of sentence-transformers: {reason}") from None
        self._last: tuple[str, Tensor] | None = None

    def embed(self, sentences: Sequence[str]) -> Tensor:
        """Return unit vectors, (sentences, width) in float32 on the CPU."""
        found: Tensor = self._model.encode(list(sentences), convert_to_tensor=True, show_progress_bar=False)
        return torch.nn.functional.normalize(found.float().cpu(), dim=-1)

    def pairs(self, question: str, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the question's unit vector, (width,), and those of the sentences, (sentences, width)."""
        if self._last is None or self._last[0] != question:
            self._last = question, self.embed([question])[0]
        return self._last[1], self.embed(sentences)

    def __call__(self, question: str, sentences: Sequence[str]) -> list[float]:
        """Return the cosine of each sentence with the question."""
        if not sentences:
            return []
        asked, said = self.pairs(question, sentences)
        return (said @ asked).tolist()
