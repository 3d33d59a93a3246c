"""The two ends of large calls, each in a process of its own, so that nobody else is slowed.

``python -m tests.faults.heavy vendor`` answers Chat and Messages calls whatever their size; it
prints its port and then, for each call, how many bytes came.
``python -m tests.faults.heavy send URL KEY MODEL PROTOCOL SIZE COUNT`` sends calls of about
SIZE bytes, all at once, and prints what came of each as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.cli.sites import end

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PATHS = {"openai-chat": "/v1/chat/completions", "anthropic": "/v1/messages"}
_CHAT = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hi."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 2},
}
# What a coding agent sends: text with quotes and line ends, in messages of some KiB.
_CODE = 'def f(name: str) -> str:\n\treturn f"\\"{name}\\" [{name}]"\n' * 70


def body(model: str, size: int) -> bytes:
    """Return a conversation of about so many bytes, as Chat and Messages both take it."""
    message = {"role": "user", "content": _CODE}
    count = max(1, size // (len(json.dumps(message)) + 2))
    said = {"model": model, "max_tokens": 50, "messages": [message] * count}
    return json.dumps(said).encode()


# --- the vendor -------------------------------------------------------------------------


def answer(connection: socket.socket) -> None:
    """Answer the calls of a connection."""
    with connection:
        got = bytearray()
        while True:
            while (at := got.find(b"\r\n\r\n")) < 0:
                piece = connection.recv(1 << 20)
                if not piece:
                    return
                got += piece
            head = bytes(got[: at + 4])
            length = _LENGTH.search(head)
            whole = at + 4 + (int(length[1]) if length else 0)
            count = len(got)
            while count < whole:
                piece = connection.recv(1 << 20)
                if not piece:
                    return
                count += len(piece)
            got.clear()
            said = json.dumps(_MESSAGE if b" /v1/messages " in head else _CHAT).encode()
            framing = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(said)
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing + said)
            print(whole - at - 4, flush=True)


def vend() -> None:
    """Answer whoever calls."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


# --- the client -------------------------------------------------------------------------


def call(url: str, request: bytes, told: list[dict[str, Any]]) -> None:
    """Make one call, on a connection of its own."""
    parts = urlsplit(url)
    begun = time.monotonic()
    with socket.create_connection((str(parts.hostname), parts.port or 80)) as connection:
        error = ""
        try:
            connection.sendall(request)
        except OSError as failure:
            # It was answered before all of it was sent.
            error = type(failure).__name__
        got = b""
        try:
            while b"\r\n\r\n" not in got and (piece := connection.recv(65_536)):
                got += piece
        except OSError as failure:
            error = type(failure).__name__
    head = got.partition(b"\r\n\r\n")[0].decode("latin-1")
    status = int(head[9:12]) if head else None
    told.append({"status": status, "head": head, "error": error, "took": time.monotonic() - begun})


def send(url: str, key: str, model: str, protocol: str, size: str, count: str) -> None:
    """Make some calls at once, and tell what came of them."""
    data = body(model, int(size))
    head = f"POST {_PATHS[protocol]} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    request = head.encode() + data
    told: list[dict[str, Any]] = []
    threads = [threading.Thread(target=call, args=(url, request, told)) for _ in range(int(count))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for line in told:
        print(json.dumps(line), flush=True)


# --- for the tests ----------------------------------------------------------------------


@asynccontextmanager
async def heavy_vendor() -> AsyncIterator[str]:
    """Run the vendor; yield where it is."""
    command = (sys.executable, "-m", "tests.faults.heavy", "vendor")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        draining = asyncio.create_task(process.stdout.read())
        yield f"http://127.0.0.1:{port}"
    finally:
        await end(process)
        await draining


async def sent(
    url: str, key: str, model: str, size: int, *, protocol: str = "openai-chat", count: int = 1
) -> list[dict[str, Any]]:
    """Make some large calls from a process of its own; return what came of each."""
    asked = (url, key, model, protocol, str(size), str(count))
    command = (sys.executable, "-m", "tests.faults.heavy", "send", *asked)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    out, _ = await process.communicate()
    return [json.loads(line) for line in out.splitlines()]


if __name__ == "__main__":
    {"vendor": vend, "send": send}[sys.argv[1]](*sys.argv[2:])
