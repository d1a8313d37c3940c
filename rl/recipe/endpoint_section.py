"""A model behind an OpenAI-compatible endpoint. Field docstrings are the documentation of the recipe."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from rl.recipe.section import Positive, Section, matching


class Endpoint(Section):
    """How an endpoint is asked."""

    url: str
    """Address of the API, such as http://localhost:8000/v1; no credentials in it."""
    model: Annotated[str, Field(min_length=1)]
    """Name of the model there."""
    key_variable: Annotated[str, matching(r"[A-Za-z_]\w*", "the name of a variable")] | None = None
    """Environment variable that holds the key, which is read from nowhere else and written nowhere; null: no key."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Longest wait for one answer."""
    retries: Annotated[int, Field(ge=0)] = 5
    """Times that a failed request is sent again, each after a longer pause."""
    concurrency: Positive = 8
    """Requests under way at a time, of each process."""

    @field_validator("url")
    @classmethod
    def _check(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname and not (parts.username or parts.query)
            good = good and parts.port != 0
        except ValueError:
            good = False
        if not good or any(letter.isspace() for letter in url):  # not repeated: a key may stand there
            raise ValueError("should be the address of an API, http:// or https://, without credentials or a query")
        return url
