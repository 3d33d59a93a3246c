"""Where a request of one protocol goes at one upstream, and with which headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from yarl import URL

from kurolproxy.ir import ProtocolName
from kurolproxy.policy.catalog import Target, Upstream

_VERSION = re.compile(r"^/(v\d[a-z0-9]*)(?=/)")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go to.

    Attributes:
        host: a name or an IP address, without brackets.
    """

    tls: bool
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Address:
    """One URL, in the parts that a request needs.

    Attributes:
        target: path and query.
        authority: the ``host`` header.
    """

    url: URL
    origin: Origin
    target: str
    authority: str

    @classmethod
    def of(cls, url: URL) -> Address:
        """Take an absolute URL apart."""
        tls = url.scheme == "https"
        origin = Origin(tls, url.host or "", url.port or (443 if tls else 80))
        host = url.raw_host or ""
        shown = f"[{host}]" if ":" in host else host
        port = "" if url.is_default_port() else f":{origin.port}"
        return cls(url, origin, url.raw_path_qs, shown + port)


class Addresses:
    """The addresses of a catalog's targets, each made once.

    Targets are told apart by identity: a reloaded catalog gets another ``Addresses``.
    """

    __slots__ = ("_urls",)

    def __init__(self) -> None:
        # The target is kept beside its URL, so that its identity is not given again.
        self._urls: dict[tuple[int, ProtocolName, str], tuple[Target, Address]] = {}

    def address(self, target: Target, protocol: ProtocolName, path: str) -> Address:
        """Return the address of what ``url_for`` returns."""
        key = (id(target), protocol, path)
        found = self._urls.get(key)
        if found is None:
            found = self._urls[key] = (target, Address.of(url_for(target, protocol, path)))
        return found[1]


def url_for(target: Target, protocol: ProtocolName, path: str) -> URL:
    """Return the URL of a call.

    The protocol's usual path is appended to the base URL; a version that the base URL
    ends with already is not repeated. A path of the configuration replaces it.

    Args:
        path: the protocol's usual path; ``{model}`` stands for the upstream's model name.
    """
    upstream = target.upstream
    template = upstream.paths.get(protocol, path)
    filled = template.replace("{model}", quote(target.model, safe=""))
    version = _VERSION.match(filled)
    if version and upstream.base_url.endswith("/" + version.group(1)):
        filled = filled[version.end() :]
    url = URL(upstream.base_url + filled, encoded=True)
    return url.update_query(upstream.query) if upstream.query else url


def headers_for(
    upstream: Upstream,
    credential: str | None,
    auth: tuple[str, str],
    passed: Mapping[str, str],
    *,
    user_agent: str,
    stream: bool,
) -> dict[str, str]:
    """Return all headers of a call: an allow-list, never the client's own.

    Args:
        auth: header and prefix of the protocol's credential.
        passed: what the caller may hand on (``anthropic-version``, ``traceparent``).
        stream: whether the answer is asked for as a stream.
    """
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream" if stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": user_agent,
        **passed,
        **upstream.headers,
    }
    if credential:
        name, prefix = auth
        if upstream.auth_header is not None and upstream.auth_header != name:
            name = upstream.auth_header
            prefix = "Bearer " if name == "authorization" else ""
        headers[name] = prefix + credential
    return headers
