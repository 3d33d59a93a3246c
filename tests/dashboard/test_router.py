"""Who sees what, and what every answer of the dashboard carries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Running
from tests.dashboard.conftest import Browser, LogIn

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest.mark.parametrize("path", ["/dashboard/nothing", "/dashboard/static/0/none.css", "/docs/x"])
async def test_unknown_page_is_a_404_with_all_headers(
    gateway: Running, anonymous: Callable[[Running], Browser], path: str
) -> None:
    page = await anonymous(gateway).get(path)
    assert page.status == 404
    assert "Not found" in page.text
    assert {name: page.headers.get(name) for name in HEADERS} == HEADERS
    assert "aiohttp" not in page.headers["server"]


async def test_bare_address_leads_browsers_to_the_dashboard_and_probes_nowhere(
    gateway: Running, anonymous: Callable[[Running], Browser]
) -> None:
    browser = anonymous(gateway)
    page = await browser.get("/", accept="text/html,*/*")
    assert (page.status, page.headers["location"]) == (303, "/dashboard/")
    probe = await browser.get("/", accept="*/*")
    assert (probe.status, probe.text) == (200, "")


async def test_log_in_helper_makes_a_session_that_is_known(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    assert browser.account is not None
    page = await browser.get("/dashboard/nothing")
    assert page.status == 404
