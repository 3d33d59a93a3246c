"""Who asks, and by which name: the client's address behind proxies, the host it calls us."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from aiohttp.web import BaseRequest

Network = IPv4Network | IPv6Network

# Nobody has longer chains of proxies; what stands further left is not read.
_MAX_HOPS = 32


def client_address(request: BaseRequest, networks: Sequence[Network]) -> str:
    """Return the address of a client, as text; "" when it has none (a Unix socket).

    ``X-Forwarded-For`` counts only when the connection comes from a trusted proxy, and of
    it the rightmost address that is not one itself: what stands left of that, the client
    may have written.

    Args:
        networks: those of the trusted proxies.
    """
    remote = request.remote or ""
    if not networks:
        return remote
    nearest = _address(remote)
    if nearest is None or not _among(nearest, networks):
        return remote
    for text in reversed(_forwarded(request)):
        address = _address(text)
        if address is None:
            # No proxy of ours writes that: nobody vouches for what stands left of it.
            break
        nearest = address
        if not _among(address, networks):
            break
    return str(nearest)


def names_us(request: BaseRequest, hosts: Collection[str]) -> bool:
    """Return whether a request names a host that is ours.

    Args:
        hosts: in lower case, each with a port (only that one) or without (any).
    """
    named = [request.headers.get("host", "")]
    target = request.raw_path
    if "://" in target and not target.startswith("/"):
        # The absolute form names a host, too, and for proxies on the way that one counts.
        named.append(urlsplit(target).netloc)
    return all(_is_one_of(each.lower(), hosts) for each in named)


def _is_one_of(host: str, hosts: Collection[str]) -> bool:
    if host in hosts:
        return True
    name, colon, port = host.rpartition(":")
    return bool(colon) and port.isascii() and port.isdigit() and name in hosts


def _forwarded(request: BaseRequest) -> list[str]:
    joined = ",".join(request.headers.getall("x-forwarded-for", ()))
    return joined.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:] if joined else []


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address as proxies write it: bare, with a port, in brackets."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        # Whatever a zone holds is no address.
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _among(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in each for each in networks)
