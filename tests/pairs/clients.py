"""The four official SDKs as clients of one gateway, and everything that crossed the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import openai
from google import genai
from google.genai import errors as google_errors
from google.genai import types

from kurolproxy.ir import ProtocolName
from tests.pairs.asks import Ask, Heard
from tests.pairs.openai_words import ask_chat, ask_responses
from tests.pairs.other_words import ask_gemini, ask_messages


@dataclass(slots=True)
class Crossed:
    """One exchange between an SDK and the gateway, byte for byte.

    Attributes:
        got: the body of the answer, as far as it was read.
    """

    path: str
    sent: bytes
    status: int = 0
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)
    got: bytearray = field(default_factory=bytearray)

    @property
    def dropped(self) -> list[str]:
        """What the answer says was left out."""
        named = self.headers.get("x-kurol-dropped")
        return named.split(",") if named else []


class _Noted(httpx2.AsyncByteStream):
    """The body of an answer, noted while the SDK reads it."""

    def __init__(self, stream: Any, crossed: Crossed) -> None:
        self._stream = stream
        self._crossed = crossed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            self._crossed.got += piece
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Tape(httpx2.AsyncHTTPTransport):
    """Plain HTTP that remembers what went over it."""

    def __init__(self) -> None:
        # Without TLS settings: loading them would take longer than a test.
        super().__init__(verify=False)
        self.exchanges: list[Crossed] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        crossed = Crossed(request.url.raw_path.decode(), await request.aread())
        self.exchanges.append(crossed)
        response = await super().handle_async_request(request)
        crossed.status, crossed.headers = response.status_code, response.headers
        response.stream = _Noted(response.stream, crossed)
        return response


_RAISED = (
    openai.APIError,
    anthropic.APIError,
    google_errors.APIError,
)


class Clients:
    """One client of each vendor, none of which asks twice."""

    def __init__(self, base_url: str, key: str) -> None:
        self._tape = _Tape()
        self._http = httpx2.AsyncClient(transport=self._tape, timeout=30)
        self.openai = openai.AsyncOpenAI(
            base_url=f"{base_url}/v1", api_key=key, max_retries=0, http_client=self._http
        )
        self.anthropic = anthropic.AsyncAnthropic(
            base_url=base_url, api_key=key, max_retries=0, http_client=self._http
        )
        options = types.HttpOptions(base_url=base_url, httpx_async_client=self._http)
        self.google = genai.Client(api_key=key, http_options=options)

    @property
    def last(self) -> Crossed:
        """The latest exchange."""
        return self._tape.exchanges[-1]

    async def ask(
        self, client: ProtocolName, model: str, ask: Ask | None = None, *, stream: bool = False
    ) -> Heard:
        """Ask through one SDK; what it raises stands in ``Heard.error``."""
        heard = Heard()
        sdk, speak = self._sdk(client)
        try:
            await speak(sdk, model, ask or Ask(), stream=stream, heard=heard)
        except _RAISED as error:
            heard.error = str(error)
            heard.text = "".join(heard.pieces)
        return heard

    def _sdk(self, client: ProtocolName) -> tuple[Any, Callable[..., Any]]:
        return {
            "openai-chat": (self.openai, ask_chat),
            "openai-responses": (self.openai, ask_responses),
            "anthropic": (self.anthropic, ask_messages),
            "gemini": (self.google, ask_gemini),
        }[client]

    async def close(self) -> None:
        """Close all of them."""
        await self.openai.close()
        await self.anthropic.close()
        await self.google.aio.aclose()
        await self._http.aclose()
