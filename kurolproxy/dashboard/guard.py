"""Who may use the dashboard from where: names it is served under, cookies, origins, tokens."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from hashlib import sha256
from ipaddress import ip_address
from secrets import token_bytes, token_urlsafe
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.web import BaseRequest

from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.desk import Site
from kurolproxy.policy.sessions import LONGEST_S

_TOKEN_BYTES: Final = 32
_SECURE_COOKIE: Final = "__Host-kurol"
_PLAIN_COOKIE: Final = "kurol"
_TRUSTED_FETCH: Final = frozenset({"same-origin", "none"})


def cookie_name(site: Site) -> str:
    """Return the name of the cookie that holds a session's token."""
    return _SECURE_COOKIE if site.secure else _PLAIN_COOKIE


def token_of(request: BaseRequest, site: Site) -> str:
    """Return the token that a browser has; "" when it has none."""
    return request.cookies.get(cookie_name(site), "")


def make_token() -> str:
    """Return a new token: 256 random bits."""
    return token_urlsafe(_TOKEN_BYTES)


def set_token(response: web.StreamResponse, token: str, site: Site) -> None:
    """Give the browser its token."""
    response.set_cookie(
        cookie_name(site),
        token,
        max_age=int(LONGEST_S),
        path="/",
        secure=site.secure,
        httponly=True,
        samesite="Strict",
    )


def drop_token(response: web.StreamResponse, site: Site) -> None:
    """Take the token away."""
    response.del_cookie(
        cookie_name(site), path="/", secure=site.secure, httponly=True, samesite="Strict"
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
    if origin is None or origin not in _origins(request, site):
        raise PageError(403, "origin")
    if request.headers.get("sec-fetch-site", "none") not in _TRUSTED_FETCH:
        raise PageError(403, "origin")


def check_csrf(token: str, given: str) -> None:
    """See to it that a request carries what its form was given.

    Args:
        given: with its pad or, as scripts have it, without.

    Raises:
        PageError: it does not.
    """
    expected = csrf_of(token)
    plain = given if len(given) == len(expected) else _unpadded(given)
    if not token or not hmac.compare_digest(expected, plain.encode("ascii", "replace").decode()):
        raise PageError(403, "csrf")


def _origins(request: BaseRequest, site: Site) -> Iterator[str]:
    for url in (site.public_url, *site.public_urls):
        parts = urlsplit(url)
        yield f"{parts.scheme}://{parts.netloc}"
    # Whoever is here over http came by a loopback name, or the operator allows any.
    if not site.secure:
        yield f"http://{request.headers.get('host', '')}"


def _host_of(request: BaseRequest) -> str:
    return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
