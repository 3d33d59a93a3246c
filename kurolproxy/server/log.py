"""One line per request, buffered; never a secret, a prompt or a query string."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

_FLUSH_BYTES = 65_536
_PRINTABLE = 64


class RequestLog:
    """Lines to a file descriptor, written at each sweep or at 64 KiB.

    Args:
        mode: which requests are logged.
        form: JSON for machines, text for a terminal.
        fd: where lines go, usually standard output.
    """

    def __init__(
        self,
        mode: Literal["all", "errors", "none"] = "all",
        form: Literal["json", "text"] = "json",
        fd: int = 1,
    ) -> None:
        self._mode = mode
        self._form = form
        self._fd = fd
        self._lines: list[bytes] = []
        self._size = 0
        self._second = -1
        self._day_and_time = ""

    def wants(self, *, error: bool) -> bool:
        """Return whether a request with this outcome is logged."""
        return self._mode == "all" or (error and self._mode == "errors")

    def request(self, unix: float, fields: Mapping[str, Any]) -> None:
        """Add the line of one request; None values are left out."""
        self._add(unix, "request", fields)

    def event(self, unix: float, name: str, **fields: Any) -> None:
        """Add a line about the gateway itself, and write at once."""
        self._add(unix, name, fields)
        self.flush()

    def flush(self, now: float = 0.0) -> None:
        """Write what is buffered; ``now`` lets a sweep call it."""
        if not self._lines:
            return
        data = b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            # Nobody reads us any more (a closed pipe, a full disk): requests go on.
            return

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
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def printable(text: str | None) -> str | None:
    """Return a foreign text as a log may hold it: printable, at most 64 characters."""
    if text is None:
        return None
    return "".join(each if each.isprintable() else "?" for each in text[:_PRINTABLE])
