"""What the service manager is told: ready, reloading, stopping, alive; ``sd_notify`` by hand.

Nothing is sent where no manager listens. A message that its socket does not take at once is
sent again at the next tick: the loop never waits for the manager.

Source: sd_notify(3), sd_watchdog_enabled(3)
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping

_STATUS_INTERVAL_S = 1.0
_MICROSECONDS = 1_000_000
_SPAN = re.compile(r"[0-9]{1,20}")
# Of a manager that takes nothing for long, only the last of these are kept.
_MOST_UNSENT = 16


class Notifier:
    """Tells the service manager how we are.

    Args:
        address: of the manager's datagram socket, ``@`` first for an abstract name; "": there
            is none.
        watchdog_s: within so many seconds the manager wants to hear of us; None: it does not.

    Attributes:
        status: returns one line on what goes on.
    """

    def __init__(
        self,
        address: str = "",
        watchdog_s: float | None = None,
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        # Late by two thirds, and the manager still waits.
        self._alive_every_s = None if watchdog_s is None else watchdog_s / 3
        self._alive_at = 0.0
        self.status: Callable[[], str] = lambda: "starting"
        self._status_at = 0.0
        self._told_status = ""
        self._leaving = False
        self._unsent: list[bytes] = []
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """Make the one that the environment asks for.

        Args:
            environ: with ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.
            pid: of this process.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            # Also "vsock:": that is for the first process of a virtual machine.
            return cls()
        span = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watched = mine and bool(_SPAN.fullmatch(span)) and int(span) > 0
        return cls(address, int(span) / _MICROSECONDS if watched else None)

    def ready(self) -> None:
        """Say that calls are served, after a start or a reload; a leaving one says no more."""
        if not self._leaving:
            self._send(f"READY=1\n{self._status_line()}")

    def reloading(self) -> None:
        """Say that the configuration is read again; ``ready`` ends that."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """Say that we leave."""
        self._leaving = True
        self._send(f"STOPPING=1\n{self._status_line()}")

    def tick(self, now: float) -> None:
        """Say that the loop turns, and what goes on when that has changed.

        Args:
            now: seconds of the loop's clock; called at least ten times a second.
        """
        if self._socket is None:
            return
        if self._unsent:
            self._flush()
        if self._alive_every_s is not None and now >= self._alive_at:
            self._alive_at = now + self._alive_every_s
            self._send("WATCHDOG=1")
        if now >= self._status_at:
            self._status_at = now + _STATUS_INTERVAL_S
            before = self._told_status
            line = self._status_line()
            if self._told_status != before:
                self._send(line)

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _status_line(self) -> str:
        self._told_status = self.status()
        return f"STATUS={self._told_status}"

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        self._unsent.append(text.encode())
        self._flush()
        if len(self._unsent) > _MOST_UNSENT:
            self._drop_oldest_status()

    def _drop_oldest_status(self) -> None:
        """Forget one message that a later one of its kind has made needless."""
        for at, each in enumerate(self._unsent):
            if each.startswith((b"STATUS=", b"WATCHDOG=")):
                del self._unsent[at]
                return

    def _flush(self) -> None:
        assert self._socket is not None
        while self._unsent:
            try:
                self._socket.sendto(self._unsent[0], self._address)
            except BlockingIOError:
                return
            except OSError:
                # The manager is gone: there is nobody to tell.
                self._unsent.clear()
                return
            del self._unsent[0]
