"""The four protocols of the demo vendor, each as one record of what is done in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kurolproxy.demo import (
    chat,
    chat_request,
    gemini,
    gemini_request,
    messages,
    messages_request,
    responses,
    responses_request,
)
from kurolproxy.demo.ask import Ask
from kurolproxy.demo.read import Refused, obj
from kurolproxy.demo.reply import Event, Reply
from kurolproxy.demo.sending import Sending


@dataclass(frozen=True, slots=True)
class Received:
    """One request as far as it is the same in every protocol.

    Attributes:
        model: the model of a Gemini path, else "".
        verb: what a Gemini path wants done, else "".
        version: the ``anthropic-version`` header, else "".
        sse: ``alt=sse`` stands in the query.
        counting: only the prompt's tokens are wanted.
    """

    body: dict[str, Any]
    fingerprint: str
    model: str = ""
    verb: str = ""
    version: str = ""
    sse: bool = False
    counting: bool = False


class Writer(Protocol):
    """Write a streamed answer, event by event."""

    def write(self, event: Event) -> bytes:
        """Return the bytes of one event."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One protocol.

    Attributes:
        read: a request's meaning, or ``Refused``.
        whole: an answer in one piece.
        writer: an answer as a stream.
        counted: the answer to a question for the prompt's tokens.
        refusal: an error's body; it is handed the request's id.
        unknown_model: the words for a model that is not there.
        unauthenticated: the words for a missing and for a wrong credential.
        content_type: of a stream.
        request_id_header: the name of the header that holds the request's id.
    """

    read: Callable[[Received], Ask]
    whole: Callable[[Reply, Sending], dict[str, Any]]
    writer: Callable[[Reply, Sending, Received], Writer]
    counted: Callable[[int], dict[str, Any]]
    refusal: Callable[[Refused, str], dict[str, Any]]
    unknown_model: Callable[[str], Refused]
    unauthenticated: tuple[str, str]
    request_id_header: str = "x-request-id"

    def content_type(self, received: Received) -> str:
        """Return the content type of a stream: Gemini without ``alt=sse`` sends an array."""
        is_array = received.verb and not received.sse
        return "application/json" if is_array else "text/event-stream; charset=utf-8"


def _read_gemini(received: Received) -> Ask:
    body: Mapping[str, Any] = received.body
    if received.counting and (inner := gemini_request.get(body, "generateContentRequest")):
        body = obj(inner, "generate_content_request")
    stream = received.verb == "streamGenerateContent"
    return gemini_request.read(body, received.fingerprint, model=received.model, stream=stream)


def _openai_model(name: str) -> Refused:
    message = f"The model `{name}` does not exist or you do not have access to it."
    return Refused(404, message, param="model", code="model_not_found")


def _gemini_model(name: str) -> Refused:
    message = (
        f"models/{name} is not found for API version v1beta, or is not supported for "
        "generateContent. Call ListModels to see the list of available models and their "
        "supported methods."
    )
    return Refused(404, message)


_OPENAI_KEYS = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
    "Incorrect API key provided.",
)

CHAT = Wire(
    read=lambda received: chat_request.read(received.body, received.fingerprint),
    whole=chat.whole,
    writer=lambda answer, sending, _: chat.Stream(answer, sending),
    counted=lambda count: {"input_tokens": count},
    refusal=lambda error, _: chat.refusal(error),
    unknown_model=_openai_model,
    unauthenticated=_OPENAI_KEYS,
)
RESPONSES = Wire(
    read=lambda received: responses_request.read(received.body, received.fingerprint),
    whole=responses.whole,
    writer=lambda answer, sending, _: responses.Stream(answer, sending),
    counted=lambda count: {"object": "response.input_tokens", "input_tokens": count},
    refusal=lambda error, _: chat.refusal(error),
    unknown_model=_openai_model,
    unauthenticated=_OPENAI_KEYS,
)
MESSAGES = Wire(
    read=lambda received: messages_request.read(
        received.body,
        received.fingerprint,
        version=received.version,
        counting=received.counting,
    ),
    whole=messages.whole,
    writer=lambda answer, sending, _: messages.Stream(answer, sending),
    counted=lambda count: {"input_tokens": count},
    refusal=messages.refusal,
    unknown_model=lambda name: Refused(404, f"model: {name}"),
    unauthenticated=("x-api-key header is required", "invalid x-api-key"),
    request_id_header="request-id",
)
GEMINI = Wire(
    read=_read_gemini,
    whole=gemini.whole,
    writer=lambda answer, sending, received: gemini.Stream(
        answer, sending, "sse" if received.sse else "array"
    ),
    counted=lambda count: {"totalTokens": count},
    refusal=lambda error, _: gemini.refusal(error),
    unknown_model=_gemini_model,
    unauthenticated=(
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
        "API key not valid. Please pass a valid API key.",
    ),
)
