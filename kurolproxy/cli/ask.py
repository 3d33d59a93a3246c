"""``ask``: one streamed call through the gateway, as any client makes it."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from kurolproxy.cli.failure import CannotConnect, Failed
from kurolproxy.cli.output import json_option, print_json, printable
from kurolproxy.cli.site import local_url
from kurolproxy.sse import FrameSplitter, FrameTooLarge, read_frame

_MAX_FRAME_BYTES: Final = 16_777_216
_MAX_ERROR_BYTES: Final = 65_536
_CONNECT_S: Final = 10.0
# Longer than the gateway lets any upstream think.
_SILENCE_S: Final = 3_700.0


@dataclass(slots=True)
class Heard:
    """What has come of an answer so far.

    Attributes:
        usage: as the protocol spells it.
        whole: the protocol's last event was seen.
        failure: an error inside the stream.
    """

    text: list[str] = field(default_factory=list)
    usage: Mapping[str, Any] = field(default_factory=dict)
    finish: str | None = None
    whole: bool = False
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a question is asked and an answer heard in one protocol.

    Attributes:
        body: (model, text) -> the request.
        headers: of the request, from the key.
        hear: take one event in and return the text that it adds.
    """

    path: str
    body: Callable[[str, str], dict[str, Any]]
    headers: Callable[[str], dict[str, str]]
    hear: Callable[[bytes, Heard], str]


def _chat_body(model: str, text: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _hear_chat(data: bytes, heard: Heard) -> str:
    if data == b"[DONE]":
        heard.whole = True
        return ""
    chunk = _object(data)
    if "error" in chunk:
        heard.failure = _error_text(chunk)
        return ""
    heard.usage = chunk.get("usage") or heard.usage
    added = ""
    for choice in chunk.get("choices") or []:
        delta = choice.get("delta") or {}
        added += delta.get("content") or delta.get("refusal") or ""
        heard.finish = choice.get("finish_reason") or heard.finish
    return added


def _messages_body(model: str, text: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 4_096,
        "stream": True,
    }


def _hear_messages(data: bytes, heard: Heard) -> str:
    event = _object(data)
    kind = event.get("type")
    if kind == "error":
        heard.failure = _error_text(event)
    elif kind == "message_stop":
        heard.whole = True
    elif kind == "message_start":
        heard.usage = event["message"].get("usage") or {}
    elif kind == "message_delta":
        heard.usage = {**heard.usage, **(event.get("usage") or {})}
        heard.finish = (event.get("delta") or {}).get("stop_reason")
    elif kind == "content_block_delta":
        return str(event["delta"].get("text", ""))
    return ""


DIALECTS: Final[Mapping[str, Dialect]] = {
    "openai-chat": Dialect(
        "/v1/chat/completions",
        _chat_body,
        lambda key: {"authorization": f"Bearer {key}"},
        _hear_chat,
    ),
    "anthropic": Dialect(
        "/v1/messages",
        _messages_body,
        lambda key: {"x-api-key": key, "anthropic-version": "2023-06-01"},
        _hear_messages,
    ),
}


@click.command()
@click.argument("model")
@click.argument("text")
@click.option(
    "--protocol", type=click.Choice(list(DIALECTS)), default="openai-chat", show_default=True
)
@click.option("--key", envvar="KUROL_API_KEY", help="An API key; otherwise $KUROL_API_KEY.")
@click.option(
    "--base-url",
    envvar="KUROL_BASE_URL",
    help="Where the gateway is; otherwise $KUROL_BASE_URL, where the configuration listens.",
)
@json_option
@click.pass_obj
def ask(
    given: Path | None,
    *,
    model: str,
    text: str,
    protocol: str,
    key: str | None,
    base_url: str | None,
    as_json: bool,
) -> None:
    """Ask MODEL the question TEXT and print its answer as it comes.

    TEXT "-" is read from standard input.
    """
    if not key:
        raise click.UsageError("give --key or set KUROL_API_KEY")
    if text == "-":
        text = sys.stdin.read()
    dialect = DIALECTS[protocol]
    heard = Heard()
    plain = sys.stdout.isatty()
    connection, prefix = _connection(base_url or local_url(given))
    try:
        response = _send(connection, prefix + dialect.path, dialect, key, dialect.body(model, text))
        for added in _pieces(response, dialect, heard):
            heard.text.append(added)
            if not as_json:
                click.echo(printable(added) if plain else added, nl=False)
    finally:
        connection.close()
        if heard.text and not as_json:
            click.echo()
    if heard.failure is not None:
        raise Failed(heard.failure)
    if not heard.whole:
        raise Failed("the answer broke off")
    if as_json:
        print_json(_facts(model, protocol, heard, response.getheader("x-request-id")))


def _facts(model: str, protocol: str, heard: Heard, request_id: str | None) -> dict[str, Any]:
    return {
        "model": model,
        "protocol": protocol,
        "text": "".join(heard.text),
        "finish_reason": heard.finish,
        "usage": heard.usage,
        "request_id": request_id,
    }


def _connection(base_url: str) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection that is not open yet, and the path in front of every route."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("http", "https"):
        raise click.BadParameter(
            "is no http or https URL, as http://127.0.0.1:8080 is", param_hint="--base-url"
        )
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=_CONNECT_S), prefix
    return http.client.HTTPConnection(host, port, timeout=_CONNECT_S), prefix


def _send(
    connection: http.client.HTTPConnection,
    path: str,
    dialect: Dialect,
    key: str,
    body: dict[str, Any],
) -> http.client.HTTPResponse:
    """Send the question and return the head of the answer."""
    where = f"{connection.host}:{connection.port}"
    try:
        connection.connect()
    except OSError as error:
        raise CannotConnect(f"cannot connect to {where}: {_reason(error)}") from error
    connection.sock.settimeout(_SILENCE_S)
    headers = {"content-type": "application/json", **dialect.headers(key)}
    try:
        connection.request("POST", path, json.dumps(body).encode(), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise Failed(_refusal(response))
    except ValueError as error:
        # The text would show the key.
        raise click.BadParameter("holds a character no key has", param_hint="--key") from error
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{where} gave no answer: {_reason(error)}") from error
    return response


def _pieces(response: http.client.HTTPResponse, dialect: Dialect, heard: Heard) -> Iterator[str]:
    """Yield the text of an answer as it comes."""
    splitter = FrameSplitter(_MAX_FRAME_BYTES)
    try:
        while data := response.read1(65_536):
            for frame in splitter.split(data):
                _, event = read_frame(frame)
                added = dialect.hear(event, heard) if event else ""
                if added:
                    yield added
                if heard.failure is not None or heard.whole:
                    return
    except (OSError, http.client.HTTPException, FrameTooLarge) as error:
        raise Failed(f"the answer broke off: {_reason(error)}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Failed("the answer is not of this protocol; is this a gateway?") from error


def _object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _refusal(response: http.client.HTTPResponse) -> str:
    """Return what an answer other than 200 says."""
    body = response.read(_MAX_ERROR_BYTES)
    try:
        said = _error_text(_object(body))
    except ValueError:
        said = response.reason
    request_id = response.getheader("x-request-id")
    return f"{response.status}: {said}" + (f" (request {request_id})" if request_id else "")


def _error_text(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    return str(said or "the gateway gave no reason")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__
