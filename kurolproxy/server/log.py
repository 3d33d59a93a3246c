"""One line per request, buffered; never a secret, a prompt or a query string."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Literal

import orjson

_FLUSH_BYTES = 65_536
_PRINTABLE = 64
_MAX_WAITING = 4_194_304
_SPECIAL = frozenset(' ="')


class _Writer:
    """Writes to a file descriptor on a thread of its own.

    Somebody who does not read our standard output (a stopped pager, a stuck log driver)
    blocks the write for as long as it pleases: that must never be the loop's. Over
    ``_MAX_WAITING`` bytes further lines are dropped and counted.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: SimpleQueue[bytes | Event | None] = SimpleQueue()
        self._waiting = 0
        self.dropped_bytes = 0
        self._thread = Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> None:
        """Write some lines, later."""
        if self._waiting + len(data) > _MAX_WAITING:
            self.dropped_bytes += len(data)
            return
        self._waiting += len(data)
        self._queue.put(data)

    def sync(self, timeout_s: float) -> bool:
        """Wait until what was put before is written."""
        done = Event()
        self._queue.put(done)
        return done.wait(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """End the thread when it has written everything."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            if isinstance(data, Event):
                data.set()
                continue
            size = len(data)
            # Nobody may read us any more (a closed pipe, a full disk): requests go on.
            with suppress(OSError):
                while data:
                    data = data[os.write(self._fd, data) :]
            self._waiting -= size


class RequestLog:
    """Lines to a file descriptor, written at each sweep or at 64 KiB.

    Args:
        mode: which requests are logged.
        form: JSON for machines, text for a terminal.
        fd: where lines go, usually standard output.

    Attributes:
        mode: as above; a reload may change it.
    """

    def __init__(
        self,
        mode: Literal["all", "errors", "none"] = "all",
        form: Literal["json", "text"] = "json",
        fd: int = 1,
    ) -> None:
        self.mode = mode
        self._form = form
        self._writer = _Writer(fd)
        self._lines: list[bytes] = []
        self._size = 0
        self._second = -1
        self._day_and_time = ""

    def wants(self, *, error: bool) -> bool:
        """Return whether a request with this outcome is logged."""
        return self.mode == "all" or (error and self.mode == "errors")

    def request(self, unix: float, fields: Mapping[str, Any]) -> None:
        """Add the line of one request; None values are left out."""
        self._add(unix, "request", fields)

    def event(self, unix: float, name: str, **fields: Any) -> None:
        """Add a line about the gateway itself, and hand it to the writer at once."""
        self._add(unix, name, fields)
        self.flush()

    def flush(self, now: float = 0.0) -> None:
        """Hand what is buffered to the writing thread; ``now`` lets a sweep call it."""
        if self._lines:
            self._writer.put(b"".join(self._lines))
            self._lines.clear()
            self._size = 0

    def close(self, timeout_s: float = 1.0) -> bool:
        """Write what is buffered, wait for it, and write nothing more.

        Returns:
            False when whoever reads the lines did not take them in time.
        """
        self.flush()
        return self._writer.close(timeout_s)

    def sync(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything so far is written; for tests and for a start that fails."""
        self.flush()
        return self._writer.sync(timeout_s)

    def _stamp(self, unix: float) -> str:
        second = int(unix)
        if second != self._second:
            self._second = second
            self._day_and_time = datetime.fromtimestamp(second, UTC).isoformat()[:19]
        return f"{self._day_and_time}.{int((unix - second) * 1000):03d}Z"

    def _add(self, unix: float, event: str, fields: Mapping[str, Any]) -> None:
        stamp = self._stamp(unix)
        kept = {name: value for name, value in fields.items() if value is not None}
        if self._form == "json":
            line = orjson.dumps({"time": stamp, "event": event, **kept}) + b"\n"
        else:
            words = " ".join(f"{name}={_plain(value)}" for name, value in kept.items())
            line = f"{stamp[11:23]} {event} {words}\n".encode("utf-8", "replace")
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _FLUSH_BYTES:
            self.flush()


def _plain(value: Any) -> str:
    text = str(value)
    if text.isprintable() and not _SPECIAL.intersection(text):
        return text
    # In quotes, so that nobody makes a second field of it.
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def printable(text: str | None, limit: int = _PRINTABLE) -> str | None:
    """Return a foreign text as a log may hold it: printable, at most ``limit`` characters."""
    if text is None:
        return None
    text = text[:limit]
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "?" for each in text)
