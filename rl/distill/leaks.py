"""No prompt that is evaluated on is trained on: n words in a row, in both, are a leak."""

from collections.abc import Iterable
from hashlib import blake2b

from rewards.sentences import words


class HeldOut:
    """Know the n-grams of words of held-out questions, by their hashes.

    A question of fewer than n words is held against others as a whole.
    """

    def __init__(self, questions: Iterable[str], ngram: int) -> None:
        self.ngram = ngram
        self._grams: set[bytes] = set()
        self._whole: set[bytes] = set()
        for question in questions:
            said = words(question)
            self._grams.update(_grams(said, ngram))
            self._whole.add(_digest(said))

    def leaks(self, question: str) -> bool:
        """Say whether a question shares n words in a row with a held-out one, or all of its words."""
        said = words(question)
        return _digest(said) in self._whole or any(gram in self._grams for gram in _grams(said, self.ngram))


def _grams(said: list[str], ngram: int) -> Iterable[bytes]:
    return (_digest(said[start : start + ngram]) for start in range(len(said) - ngram + 1))


def _digest(said: list[str]) -> bytes:
    return blake2b("\0".join(said).encode("utf-8", "surrogatepass"), digest_size=12).digest()
