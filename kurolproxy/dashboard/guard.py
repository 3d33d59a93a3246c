"""Who may use the dashboard from where: names it is served under, cookies, origins, tokens."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from hashlib import sha256
from ipaddress import ip_address
from secrets import token_urlsafe
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

    Raises:
        PageError: it does not.
    """
    expected = csrf_of(token)
    if not token or not hmac.compare_digest(expected, given.encode("ascii", "replace").decode()):
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
