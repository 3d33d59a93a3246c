"""Who may use the dashboard from where: names it is served under, cookies, origins, tokens.

Two cookies, both for this host alone. One holds the token of a session; it is written when
somebody logs in, and at no other time. The other one gives the forms of visitors a token who
are not logged in. Whoever comes by a link of another site brings neither of them along
(``SameSite=Strict``): that visitor must not lose a session by being given another token.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from hashlib import sha256
from ipaddress import ip_address
from secrets import token_bytes
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.web import BaseRequest

from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.desk import Site
from kurolproxy.policy.sessions import LONGEST_S

_SECURE_COOKIE: Final = "__Host-kurol"
_PLAIN_COOKIE: Final = "kurol"
_OF_FORMS: Final = "-form"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_TRANSPORT_SECURITY: Final = "max-age=31536000"
_TRUSTED_FETCH: Final = frozenset({"same-origin", "none"})


def cookie_name(site: Site) -> str:
    """Return the name of the cookie that holds a session's token."""
    return _SECURE_COOKIE if site.secure else _PLAIN_COOKIE


def token_of(request: BaseRequest, site: Site) -> str:
    """Return the token that a browser has, of a session or for forms; "": it has none."""
    name, cookies = cookie_name(site), request.cookies
    return cookies.get(name) or cookies.get(name + _OF_FORMS, "")


def set_token(response: web.StreamResponse, token: str, site: Site) -> None:
    """Give the browser the token of its session; that for forms goes."""
    _set(response, cookie_name(site), token, site, int(LONGEST_S))
    _drop(response, cookie_name(site) + _OF_FORMS, site)


def set_form_token(response: web.StreamResponse, token: str, site: Site) -> None:
    """Give a visitor who is not logged in a token for the forms, until the browser is closed."""
    _set(response, cookie_name(site) + _OF_FORMS, token, site, None)


def drop_token(response: web.StreamResponse, site: Site) -> None:
    """Take the token of a session away."""
    _drop(response, cookie_name(site), site)


def _set(
    response: web.StreamResponse, name: str, token: str, site: Site, max_age_s: int | None
) -> None:
    response.set_cookie(
        name,
        token,
        max_age=max_age_s,
        path="/",
        secure=site.secure,
        httponly=True,
        samesite="Strict",
    )


def _drop(response: web.StreamResponse, name: str, site: Site) -> None:
    response.del_cookie(name, path="/", secure=site.secure, httponly=True, samesite="Strict")


def harden(response: web.StreamResponse, site: Site) -> None:
    """Have browsers come by https only from now on, where that is how they should come."""
    if site.secure:
        response.headers.setdefault("strict-transport-security", _TRANSPORT_SECURITY)


def left_cookies_behind(request: BaseRequest, token: str) -> bool:
    """Return whether a browser may have a cookie that it did not send.

    It followed a link of another site; the same address asked for by a page of ours has it.

    Args:
        token: what it did send.
    """
    headers = request.headers
    return (
        not token
        and request.method == "GET"
        and headers.get("sec-fetch-site") == "cross-site"
        and headers.get("sec-fetch-mode") == "navigate"
    )


def csrf_of(token: str) -> str:
    """Return what a form of the browser with this token has to bring along."""
    return hmac.new(token.encode("utf-8", "replace"), b"csrf", sha256).hexdigest()


def padded(csrf: str) -> str:
    """Return the token as one page holds it: it looks different in each.

    Pages are compressed, and some repeat what their address asks for: by the length of many
    answers a neighbour could guess a text that is the same in all of them (BREACH).
    """
    pad = token_bytes(len(csrf) // 2)
    mixed = bytes(a ^ b for a, b in zip(pad, bytes.fromhex(csrf), strict=True))
    return pad.hex() + mixed.hex()


def _unpadded(given: str) -> str:
    half = len(given) // 2
    try:
        pad, mixed = bytes.fromhex(given[:half]), bytes.fromhex(given[half:])
        return bytes(a ^ b for a, b in zip(pad, mixed, strict=True)).hex()
    except ValueError:
        return ""


def check_host(request: BaseRequest, site: Site) -> None:
    """See to it that the dashboard is not used in the clear over a network.

    Raises:
        PageError: it is served over http, and this name is not loopback's.
    """
    if site.secure or site.insecure_http or _is_loopback(_host_of(request)):
        return
    raise PageError(403, "insecure")


def check_origin(request: BaseRequest, site: Site) -> None:
    """See to it that a page of ours sent this request.

    Raises:
        PageError: another site did, or nobody says who.
    """
    origin = request.headers.get("origin")
    if not origin or origin not in _origins(request, site):
        raise PageError(403, "origin")
    if request.headers.get("sec-fetch-site", "none") not in _TRUSTED_FETCH:
        raise PageError(403, "origin")


def check_csrf(token: str, given: str) -> None:
    """See to it that a request carries what its form was given.

    Args:
        given: with its pad or, as scripts have it, without.

    Raises:
        PageError: it does not; "cookie": it did not even bring one.
    """
    if not token:
        raise PageError(403, "cookie")
    expected = csrf_of(token)
    plain = given if len(given) == len(expected) else _unpadded(given)
    if not hmac.compare_digest(expected, plain.encode("ascii", "replace").decode()):
        raise PageError(403, "csrf")


def _origins(request: BaseRequest, site: Site) -> Iterator[str]:
    for url in (site.public_url, *site.public_urls):
        yield origin_of(url)
    # Whoever is here over http came by a loopback name, or the operator allows any.
    if not site.secure:
        yield origin_of(f"http://{request.headers.get('host', '')}")


def origin_of(url: str) -> str:
    """Return the origin of a URL as browsers write it: lower case, no port that goes unsaid."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    name = f"[{host}]" if ":" in host else host
    said = "" if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{port}"
    return f"{parts.scheme}://{name}{said}" if name else ""


def named_by(request: BaseRequest, site: Site) -> bool:
    """Return whether a request calls us by one of the names that users are told."""
    told = {urlsplit(url).hostname for url in (site.public_url, *site.public_urls)}
    return _host_of(request) in told


def check_local(request: BaseRequest, address: str) -> None:
    """See to it that a request was sent on this machine, or through a tunnel to it.

    Args:
        address: of the client.

    Raises:
        PageError: it comes over the network, or by a name that may be anybody's.
    """
    if not (_is_loopback(_host_of(request)) and _is_loopback(address)):
        raise PageError(403, "insecure")


def _host_of(request: BaseRequest) -> str:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
