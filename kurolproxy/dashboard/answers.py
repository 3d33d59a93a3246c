"""Answers of the dashboard: each with the headers that keep a browser on its guard."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.web import BaseRequest

_WORTH_PACKING: Final = 1_024
_PACKED_KINDS: Final = frozenset({"text/html", "application/json", "text/csv"})
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
GUARDED: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
    "server": "kurolproxy",
}
"""What every answer of the dashboard carries, unless it says otherwise itself."""


class PageError(Exception):
    """A page that cannot be shown.

    Args:
        status: of the answer.
        code: which text of ``templates/error.html`` tells it.
        retry_after_s: when it is worth another try.
    """

    def __init__(self, status: int, code: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


def html(text: str, status: int = 200) -> web.Response:
    """Return a page."""
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def json(value: Any, status: int = 200) -> web.Response:
    """Return a JSON value."""
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json")


def redirect(path: str) -> web.Response:
    """Send the browser to another page of ours.

    Args:
        path: relative to the host, so that no ``Host`` header comes into it.
    """
    return web.Response(status=303, headers={"location": path})


def takes_gzip(request: BaseRequest) -> bool:
    """Return whether a client wants answers compressed."""
    for each in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = each.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or weight == ""
    return False


def pack(request: BaseRequest, response: web.StreamResponse) -> None:
    """Compress a page that is worth it.

    Only what a GET brings: the answers to a POST hold secrets that are shown once, beside what
    was sent, and their length must not tell anything about them (BREACH). The one secret of the
    other pages, the token of their forms, looks different in each of them.
    """
    if request.method not in ("GET", "HEAD") or not isinstance(response, web.Response):
        return
    if response.content_type not in _PACKED_KINDS or "content-encoding" in response.headers:
        return
    response.headers.setdefault("vary", "accept-encoding")
    if not isinstance(response.body, bytes) or len(response.body) < _WORTH_PACKING:
        return
    if takes_gzip(request):
        response.body = gzip.compress(response.body, 5, mtime=0)
        response.headers["content-encoding"] = "gzip"


def guard(response: web.StreamResponse) -> None:
    """Add the headers that are not there yet."""
    for name, value in GUARDED.items():
        response.headers.setdefault(name, value)
