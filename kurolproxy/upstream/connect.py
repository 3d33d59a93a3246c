"""A connection to an origin: resolve, try the addresses in turn, TLS."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from kurolproxy.upstream import faults
from kurolproxy.upstream.address import Origin

_DNS_CACHE_S = 60
# RFC 8305: families in turn, the next address after 250 ms, the first connection wins.
_NEXT_ADDRESS_S = 0.25
# That is no fault of the upstream: nobody rests for it.
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True)
class _Resolved:
    addresses: list[AddrInfoType]
    until: float


class Dialler:
    """Opens connections; remembers what names resolve to for a minute.

    Args:
        tls: for origins that want it; by default the system's authorities are trusted.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._known: dict[Origin, _Resolved] = {}
        self._asking: dict[Origin, asyncio.Task[list[AddrInfoType]]] = {}

    async def dial(
        self, origin: Origin, protocol: Callable[[], _Protocol], timeout_s: float
    ) -> _Protocol:
        """Open a connection.

        Raises:
            Overloaded: we have no descriptor left for it.
            UpstreamError: there is none.
            UpstreamTimeout: it did not stand within ``timeout_s`` seconds.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._dial(origin, protocol)
        except TimeoutError:
            # The system's own timeout of a connection attempt is one as well.
            self._known.pop(origin, None)
            raise faults.connect_too_slow() from None
        except socket.gaierror:
            raise faults.unknown_name() from None
        except ssl.SSLError:
            raise faults.no_tls() from None
        except (OSError, UnicodeError) as error:
            if getattr(error, "errno", None) in _OURS:
                raise faults.no_descriptor() from None
            self._known.pop(origin, None)
            raise faults.unreachable() from None

    async def _dial(self, origin: Origin, protocol: Callable[[], _Protocol]) -> _Protocol:
        addresses = await self._addresses(origin)
        found = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
        )
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_connection(
                protocol,
                sock=found,
                ssl=self._context() if origin.tls else None,
                server_hostname=origin.host if origin.tls else None,
            )
        except BaseException:
            found.close()
            raise
        return made

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    async def _addresses(self, origin: Origin) -> list[AddrInfoType]:
        known = self._known.get(origin)
        if known is not None and time.monotonic() < known.until:
            return known.addresses
        if _is_address(origin.host):
            return await _look_up(origin, socket.AI_NUMERICHOST)
        # Many calls may want the same name at once; who asked first may leave early.
        asking = self._asking.get(origin)
        if asking is None:
            asking = asyncio.get_running_loop().create_task(self._ask(origin))
            self._asking[origin] = asking
            asking.add_done_callback(lambda task: self._answered(origin, task))
        return await asyncio.shield(asking)

    async def _ask(self, origin: Origin) -> list[AddrInfoType]:
        found = await _look_up(origin, 0)
        self._known[origin] = _Resolved(found, time.monotonic() + _DNS_CACHE_S)
        return found

    def _answered(self, origin: Origin, task: asyncio.Task[list[AddrInfoType]]) -> None:
        self._asking.pop(origin, None)
        if not task.cancelled():
            task.exception()  # whoever still waits gets it; nobody may


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _look_up(origin: Origin, flags: int) -> list[AddrInfoType]:
    found = await asyncio.get_running_loop().getaddrinfo(
        origin.host, origin.port, type=socket.SOCK_STREAM, flags=flags
    )
    return list(found)
