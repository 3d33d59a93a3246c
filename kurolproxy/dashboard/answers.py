"""Answers of the dashboard: each with the headers that keep a browser on its guard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

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


def guard(response: web.StreamResponse) -> None:
    """Add the headers that are not there yet."""
    for name, value in GUARDED.items():
        response.headers.setdefault(name, value)
