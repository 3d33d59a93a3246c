"""Addresses, URLs and header fields: what is wrong with one, in words that never hold it."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

_MAX_PORT = 65_535
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_PATH_TEMPLATE = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/%-]|\{model\})*")
# The client writes these itself; a second opinion would break the framing of requests.
_OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class Address(NamedTuple):
    """Where a listener stands; port 0: any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def split_address(text: str) -> Address:
    """Read ``host:port`` or ``[ipv6]:port``.

    Raises:
        ValueError: it is none; the message says why.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > _MAX_PORT:
        raise ValueError(f"must end with a colon and a port from 0 to {_MAX_PORT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ip(host, version=6):
            raise ValueError("has no IPv6 address between its brackets")
    elif ":" in host:
        raise ValueError("needs brackets around an IPv6 address, as in [::1]:8080")
    elif not is_host(host):
        raise ValueError("has no host name or address before the port; 0.0.0.0 is every one")
    return Address(host, int(port))


def address_fault(text: str) -> str | None:
    """Return what is wrong with an address to listen on; none at all is for others to judge."""
    try:
        split_address(text or "127.0.0.1:0")
    except ValueError as error:
        return str(error)
    return None


def is_host(text: str) -> bool:
    """Return whether ``text`` is a host name or an IPv4 address."""
    return _HOST_NAME.fullmatch(text) is not None


def is_loopback(url: str) -> bool:
    """Return whether a valid URL names this very machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return _is_ip(host) and ipaddress.ip_address(host).is_loopback


def network_fault(text: str) -> str | None:
    """Return what is wrong with an IP address or network."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        if re.fullmatch(r"[0-9a-fA-F.:]+/[0-9]{1,3}", text) and _is_ip(text.partition("/")[0]):
            return "no network: bits are set behind its prefix length"
        return "no IP address or network, as in 10.0.0.0/8"
    return None


def allowed_host_fault(text: str) -> str | None:
    """Return what is wrong with a host that requests may name, with or without a port."""
    bare = re.sub(r":[0-9]{1,5}\Z", "", text)
    if is_host(bare) or (bare.startswith("[") and _is_ip(bare[1:-1], version=6)):
        return None
    return "no host name"


def base_url_fault(text: str) -> str | None:
    """Return what is wrong with the base URL of an upstream."""
    parts, fault = _split(text)
    if parts is None:
        return fault
    if "@" in parts.netloc:
        return "must not hold a user name or password; credentials go into api_keys or headers"
    return _no_query(text)


def public_url_fault(text: str) -> str | None:
    """Return what is wrong with the URL that users are told; none at all is fine."""
    if not text:
        return None
    parts, fault = _split(text)
    if parts is None:
        return fault
    if "@" in parts.netloc:
        return "must not hold a user name or password"
    if parts.path not in ("", "/"):
        return "must not have a path: the gateway owns the whole of its host"
    return _no_query(text)


def proxy_fault(text: str) -> str | None:
    """Return what is wrong with the URL of an HTTP proxy; it may hold a user and password."""
    parts, fault = _split(text)
    if parts is None:
        return fault
    if parts.path not in ("", "/"):
        return "must not have a path"
    return _no_query(text)


def _split(text: str) -> tuple[SplitResult | None, str | None]:
    """Return the parts of an http URL, or what is wrong with it."""
    if not text:
        return None, "must not be empty"
    if not text.isascii() or not text.isprintable() or " " in text:
        return None, "holds a space or another character that stands in no URL"
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return None, "has no valid host and port"
    if parts.scheme not in ("http", "https") or not text[len(parts.scheme) :].startswith("://"):
        return None, "must begin with http:// or https://"
    if not host or not (is_host(host) or _is_ip(host, version=6)):
        return None, "has no valid host"
    return parts, None


def _no_query(text: str) -> str | None:
    return "must not have a query or a fragment" if "?" in text or "#" in text else None


def _is_ip(text: str, version: int | None = None) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return version in (None, found.version)


def path_fault(text: str) -> str | None:
    """Return what is wrong with a path template of an upstream."""
    if not text.startswith("/"):
        return "must begin with /"
    if not _PATH_TEMPLATE.fullmatch(text):
        return "holds a character that stands in no path ({model} is the only placeholder)"
    return None


def header_name_fault(name: str) -> str | None:
    """Return what is wrong with the name of an extra request header."""
    if not _HEADER_NAME.fullmatch(name):
        return "no name of a header"
    if name.lower() in _OWN_HEADERS:
        return "a header that the gateway writes itself"
    return None


def header_value_fault(value: str) -> str | None:
    """Return what is wrong with a header's value."""
    return None if _HEADER_VALUE.fullmatch(value) else "holds a character no header may hold"


def api_key_fault(key: str) -> str | None:
    """Return what is wrong with a credential that is sent in a header."""
    if not key:
        return "must not be empty"
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        return "holds a space, a line break or another character that no key holds"
    return None
