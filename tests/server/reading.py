"""The official SDKs as readers: what a client of each protocol sees of one answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anthropic
import httpx2
import openai
from google import genai
from google.genai import errors as google_errors
from google.genai import types

from tests.server.reading_chat import read_chat
from tests.server.reading_gemini import read_gemini
from tests.server.reading_messages import read_messages
from tests.server.reading_responses import read_responses
from tests.server.seen import PROMPT, Seen

CLIENTS: Mapping[str, Callable[..., Awaitable[None]]] = {
    "chat": read_chat,
    "messages": read_messages,
    "responses": read_responses,
    "gemini": read_gemini,
}
"""Each client by its short name: (SDK, model, what was seen so far, stream, more)."""


class Readers:
    """One client of each vendor, made once: none of them asks twice.

    Args:
        base_url: of a gateway, or of anything else that speaks the protocols.
    """

    def __init__(self, base_url: str, key: str) -> None:
        # Without TLS settings: loading them would take longer than a test.
        self._http = httpx2.AsyncClient(verify=False, timeout=30)
        both = openai.AsyncOpenAI(
            base_url=f"{base_url}/v1", api_key=key, max_retries=0, http_client=self._http
        )
        self._unused = httpx2.Client(verify=False)
        options = types.HttpOptions(
            base_url=base_url, httpx_client=self._unused, httpx_async_client=self._http
        )
        self._sdks = {
            "chat": both,
            "responses": both,
            "messages": anthropic.AsyncAnthropic(
                base_url=base_url, api_key=key, max_retries=0, http_client=self._http
            ),
            "gemini": genai.Client(api_key=key, http_options=options),
        }

    async def ask(self, client: str, model: str, *, stream: bool, **more: Any) -> Seen:
        """Ask through one SDK; an error that it raises for an answer is part of what is seen."""
        seen = Seen()
        try:
            await CLIENTS[client](self._sdks[client], model, seen, stream=stream, **more)
        except (openai.APIError, anthropic.APIError, google_errors.APIError) as error:
            _failed(seen, error)
        return seen

    async def count(self, client: str, model: str) -> int:
        """Count the tokens of a prompt through one SDK; Chat has no call for it."""
        sdk: Any = self._sdks[client]
        if client == "messages":
            counted = await sdk.messages.count_tokens(model=model, messages=PROMPT)
            return int(counted.input_tokens)
        if client == "responses":
            return int(
                (await sdk.responses.input_tokens.count(model=model, input="x")).input_tokens
            )
        counted = await sdk.aio.models.count_tokens(model=model, contents="x")
        return int(counted.total_tokens)

    async def close(self) -> None:
        """Close the connections of all of them."""
        self._unused.close()
        await self._http.aclose()


def _failed(seen: Seen, error: Any) -> None:
    """Note an error: words, wire object, and the status when it came before the answer."""
    seen.raised = error
    seen.error = str(error.message)
    if isinstance(error, google_errors.APIError):
        seen.wire = error.details
        early = error.response is not None and error.response.status_code != 200
        seen.status = error.response.status_code if early else None
        return
    seen.wire = error.body
    if isinstance(error, anthropic.APIStatusError) and isinstance(error.body, dict):
        seen.error = error.body["error"]["message"]
    if isinstance(error, openai.APIStatusError | anthropic.APIStatusError):
        seen.status = error.status_code if error.status_code != 200 else None
