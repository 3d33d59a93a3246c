"""``ask``: one streamed call through the gateway, as any client makes it."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
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
    request_id: str | None = None


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


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of which model, by whom."""

    model: str
    text: str
    key: str = field(repr=False)
    dialect: Dialect


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
    question = Question(model, text, key, DIALECTS[protocol])
    heard = Heard()
    try:
        for added in _pieces(base_url or local_url(given), question, heard):
            heard.text.append(added)
            if not as_json:
                # A program gets the bytes of the model, a terminal no control characters.
                click.echo(printable(added) if sys.stdout.isatty() else added, nl=False)
    finally:
        if heard.text and not as_json:
            click.echo()
    if heard.failure is not None:
        raise Failed(_named(heard.failure, heard.request_id))
    if not heard.whole:
        raise Failed(_named("the answer broke off", heard.request_id))
    if as_json:
        print_json(_facts(model, protocol, heard))


def _facts(model: str, protocol: str, heard: Heard) -> dict[str, Any]:
    return {
        "model": model,
        "protocol": protocol,
        "text": "".join(heard.text),
        "finish_reason": heard.finish,
        "usage": heard.usage,
        "request_id": heard.request_id,
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


def _pieces(base_url: str, question: Question, heard: Heard) -> Iterator[str]:
    """Ask, and yield the text of the answer as it comes."""
    connection, prefix = _connection(base_url)
    splitter = FrameSplitter(_MAX_FRAME_BYTES)
    with closing(connection), closing(_send(connection, prefix, question)) as response:
        heard.request_id = response.getheader("x-request-id")
        if response.status != 200:
            raise Failed(_refusal(response))
        while data := _read(response):
            for frame in _frames(splitter, data):
                added = _hear(question.dialect, frame, heard)
                if added:
                    yield added
                if heard.failure is not None or heard.whole:
                    return


def _send(
    connection: http.client.HTTPConnection, prefix: str, question: Question
) -> http.client.HTTPResponse:
    """Send the question and return the head of the answer."""
    where = f"{connection.host}:{connection.port}"
    try:
        connection.connect()
    except OSError as error:
        raise CannotConnect(f"cannot connect to {where}: {_reason(error)}") from error
    connection.sock.settimeout(_SILENCE_S)
    dialect = question.dialect
    headers = {"content-type": "application/json", **dialect.headers(question.key)}
    body = json.dumps(dialect.body(question.model, question.text)).encode()
    try:
        connection.request("POST", prefix + dialect.path, body, headers)
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{where} gave no answer: {_reason(error)}") from error
    except ValueError:
        # Its text shows the key.
        pass
    raise click.BadParameter("holds a character that no key has", param_hint="--key")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(65_536)
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"the answer broke off: {_reason(error)}") from error


def _frames(splitter: FrameSplitter, data: bytes) -> list[bytes]:
    try:
        return splitter.split(data)
    except FrameTooLarge as error:
        raise Failed(str(error)) from error


def _hear(dialect: Dialect, frame: bytes, heard: Heard) -> str:
    """Return the text that one frame adds."""
    _, data = read_frame(frame)
    try:
        return dialect.hear(data, heard) if data else ""
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Failed("the answer is not of this protocol: is this a gateway?") from error


def _object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _refusal(response: http.client.HTTPResponse) -> str:
    """Return what an answer other than 200 says."""
    body = _read(response)
    try:
        said = _error_text(_object(body))
    except ValueError:
        said = response.reason
    return _named(f"{response.status}: {said}", response.getheader("x-request-id"))


def _named(message: str, request_id: str | None) -> str:
    """Return a message with the id by which the operator finds the request in the log."""
    return f"{message} (request {request_id})" if request_id else message


def _error_text(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    return str(said or "the gateway gave no reason")


def _reason(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, OSError) and (error.strerror or str(error)):
        return error.strerror or str(error)
    # The text of the others quotes what was read, whatever that is.
    return type(error).__name__
