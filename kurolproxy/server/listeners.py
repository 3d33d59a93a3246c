"""Listening sockets: bound here, or handed over by who started us (socket activation)."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp.web import RequestHandler

from kurolproxy.server.hardening import GatewayProtocol, GatewayServer

METRICS_NAME: Final = "metrics"
"""What ``FileDescriptorName=`` calls the socket of the metrics; every other is a main one."""

_FIRST_FD: Final = 3
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_BACKLOG: Final = 4_096
# A new connection or a head that began so lately is waited for.
_HEAD_S: Final = 0.3


class BadSocket(Exception):
    """What was handed over cannot be listened at; the text says why."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """Listening sockets that somebody else made, and keeps.

    Attributes:
        main: where calls come in; empty: bind what the configuration says.
        metrics: where the metrics are asked for; the same.
    """

    main: tuple[socket.socket, ...] = ()
    metrics: tuple[socket.socket, ...] = ()


def inherited(environ: Mapping[str, str], pid: int, first_fd: int = _FIRST_FD) -> Inherited:
    """Take the sockets that the service manager handed over; none when it did not.

    Args:
        environ: with ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES``.
        pid: of this process; variables that were meant for another one are left alone.

    Raises:
        BadSocket: what was handed over is no TCP socket that listens.

    Source: sd_listen_fds(3)
    """
    if environ.get("LISTEN_PID") != str(pid):
        return Inherited()
    count = environ.get("LISTEN_FDS", "")
    if not _COUNT.fullmatch(count):
        return Inherited()
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    main: list[socket.socket] = []
    metrics: list[socket.socket] = []
    for index in range(int(count)):
        taken = _listening(first_fd + index)
        named = index < len(names) and names[index] == METRICS_NAME
        (metrics if named else main).append(taken)
    return Inherited(tuple(main), tuple(metrics))


def _listening(fd: int) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        found = socket.socket(fileno=fd)
    except OSError as error:
        raise BadSocket(f"descriptor {fd} is no socket: {error.strerror}") from error
    fault = _fault(found)
    if fault:
        found.close()
        raise BadSocket(f"descriptor {fd} {fault}")
    found.setblocking(False)
    return found


def _fault(found: socket.socket) -> str:
    """Return why a socket cannot be listened at; "" when it can."""
    if found.family not in (socket.AF_INET, socket.AF_INET6):
        return "is no TCP socket"
    try:
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        return f"cannot be asked what it is: {error.strerror}"
    return "" if listens else "does not listen (Accept=no is needed)"


def _is_idle(connection: RequestHandler) -> bool:
    # What aiohttp keeps of a connection; a version without it fails in our types and tests.
    return connection._waiter is not None and not connection._messages


class Listener:
    """One server and the sockets that it accepts connections from.

    Args:
        server: makes the protocol of each connection.
    """

    def __init__(self, server: GatewayServer) -> None:
        self.server = server
        self._accepting: list[asyncio.Server] = []

    async def open(
        self, addresses: Iterable[tuple[str, int]], sockets: Sequence[socket.socket] = ()
    ) -> list[tuple[str, int]]:
        """Accept connections.

        Args:
            addresses: host and port of each; 0 takes a free port. Left alone when there
                are ``sockets``.

        Returns:
            host and port of each socket, the real port.

        Raises:
            OSError: an address cannot be had; the text names it.
        """
        for each in sockets:
            await self._accept(sock=each)
        for host, port in () if sockets else addresses:
            try:
                await self._accept(host=host, port=port)
            except OSError as error:
                shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                text = f"cannot listen on {shown}: {error.strerror}"
                raise OSError(error.errno, text) from error
        bound = [each.getsockname()[:2] for server in self._accepting for each in server.sockets]
        return [(host, port) for host, port in bound]

    async def _accept(self, **where: Any) -> None:
        loop = asyncio.get_running_loop()
        self._accepting.append(
            await loop.create_server(self.server, backlog=_BACKLOG, **where),
        )

    def stop_accepting(self) -> None:
        """Close our ends of the sockets.

        One that was handed over lives on in who made it: connections wait there for the
        next process.
        """
        for each in self._accepting:
            each.close()
        self._accepting.clear()

    def close_idle(self) -> None:
        """Close the connections that wait for their next request, unless it just comes in."""
        now = asyncio.get_running_loop().time()
        heads = self.server.heads
        for each in self.server.connections:
            began = heads.get(each) if isinstance(each, GatewayProtocol) else None
            if _is_idle(each) and (began is None or now - began >= _HEAD_S):
                each.force_close()

    async def close(self, within_s: float) -> None:
        """Stop accepting and end every connection.

        Args:
            within_s: what a request that runs gets to end, more than 0.
        """
        self.stop_accepting()
        await self.server.shutdown(within_s)
