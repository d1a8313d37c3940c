"""A model behind an OpenAI-compatible endpoint (vLLM, `transformers serve`, a hosted one), asked much at once."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx
import openai

Message = dict[str, str]
CHECK_SECONDS = 10.0
REFUSED = (openai.BadRequestError, openai.UnprocessableEntityError, openai.ContentFilterFinishReasonError)
FAILED = (openai.APIError, openai.OpenAIError, httpx.HTTPError, ValueError)


class EndpointError(ValueError):
    """Say why an endpoint cannot be asked, and what would do."""


@dataclass(frozen=True, slots=True)
class Request:
    """Hold what is asked; the seed goes to providers that take one."""

    messages: Sequence[Message]
    temperature: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold what came back: empty where the provider withheld it, `cut` where it ended at the longest length."""

    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Hold why a request failed; `refused` where it is this request alone, such as one too long or filtered."""

    reason: str
    refused: bool = False


class Endpoint:
    """Send requests, at most `concurrency` at a time; those that fail are sent again with growing pauses.

    The key comes from an environment variable and is written nowhere. `place` is the recipe's section that names the
    endpoint and `what` is what stands there, for faults. Raises EndpointError where the variable is not set.
    """

    together = False  # each request has a seed of its own

    def __init__(
        self,
        *,
        place: str,
        what: str,
        url: str,
        model: str,
        key_variable: str | None,
        timeout_seconds: float,
        retries: int,
        concurrency: int,
        max_tokens: int,
    ) -> None:
        self._key = None if key_variable is None else os.environ.get(key_variable, "").strip()
        if self._key == "":
            raise EndpointError(
                f"{place}.key_variable: the environment has no {key_variable}; export the {what}'s key there, or write "
                f"key_variable: null for a {what} that wants none"
            )
        if self._key is not None and not (self._key.isascii() and self._key.isprintable()):
            raise EndpointError(f"{place}.key_variable: what {key_variable} holds is no key: it is not printable ASCII")
        self.place, self.what, self.url, self.model = place, what, url, model
        self.timeout_seconds, self.retries, self.concurrency = timeout_seconds, retries, concurrency
        self.max_tokens = max_tokens

    def check(self) -> None:
        """Raise EndpointError where nobody answers at the address, or the key is refused."""
        asyncio.run(self._check())

    async def _check(self) -> None:
        async with self._client(min(self.timeout_seconds, CHECK_SECONDS), retries=1) as client:
            try:
                await client.models.list()
            except (openai.APIConnectionError, openai.AuthenticationError, httpx.HTTPError, OSError) as error:
                reason = self._reason(error)
                raise EndpointError(f"{self.place}: the {self.what} at {self.url} cannot be asked: {reason}") from None
            except (openai.APIError, ValueError):
                return  # it answers, though it lists no models

    def ask(self, requests: Mapping[str, Request], heard: Callable[[str, Answer | Failure], None]) -> None:
        """Send all requests and tell `heard` of each as it comes back; what it raises ends those under way."""
        asyncio.run(self._ask_all(requests, heard))

    async def _ask_all(self, requests: Mapping[str, Request], heard: Callable[[str, Answer | Failure], None]) -> None:
        limit = asyncio.Semaphore(self.concurrency)

        async def one(client: openai.AsyncOpenAI, key: str, request: Request) -> None:
            async with limit:
                found = await self._ask(client, request)
            heard(key, found)

        async with self._client(self.timeout_seconds, self.retries) as client:
            tasks = [asyncio.create_task(one(client, key, request)) for key, request in requests.items()]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

    async def _ask(self, client: openai.AsyncOpenAI, request: Request) -> Answer | Failure:
        try:
            reply = await client.chat.completions.create(
                model=self.model,
                messages=list(request.messages),  # pyright: ignore
                temperature=request.temperature,
                max_tokens=self.max_tokens,
                seed=openai.omit if request.seed is None else request.seed,
            )
        except REFUSED as error:
            return Failure(self._reason(error), refused=True)
        except FAILED as error:
            return Failure(self._reason(error))
        choices = getattr(reply, "choices", None)
        if not isinstance(choices, list) or not choices:
            return Failure("the reply is no chat completion; check the url")
        content = getattr(getattr(choices[0], "message", None), "content", None)
        cut = getattr(choices[0], "finish_reason", None) == "length"
        return Answer(content if isinstance(content, str) else "", cut)

    def _client(self, seconds: float, retries: int) -> openai.AsyncOpenAI:
        key = self._key or "none"
        return openai.AsyncOpenAI(base_url=self.url, api_key=key, timeout=seconds, max_retries=retries)

    def _reason(self, error: Exception) -> str:
        """Say what went wrong, without the key, which a server may quote."""
        text = str(error).strip()
        text = text if self._key is None else text.replace(self._key, "[key]")
        reason = f"{type(error).__name__}: {text[:300]}"
        remedies = {
            openai.AuthenticationError: "check the key",
            openai.NotFoundError: f"check {self.place}.url and {self.place}.model",
            openai.APITimeoutError: f"raise {self.place}.timeout_seconds",
            openai.APIConnectionError: "is it running?",
        }
        remedy = next((text for kind, text in remedies.items() if isinstance(error, kind)), None)
        return f"{reason} ({remedy})" if remedy else reason
