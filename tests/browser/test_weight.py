"""What the first view of a page takes over the wire."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Request

from tests.browser.conftest import View
from tests.browser.sites import Site, fill

MOST_BYTES = 60_000
"""Of bodies as they were sent, everything together."""


@pytest.mark.parametrize(
    ("path", "email"),
    [
        ("/dashboard/login", None),
        ("/dashboard/", "ann@example.org"),
        ("/dashboard/usage", "ann@example.org"),
        ("/dashboard/playground", "ann@example.org"),
        ("/dashboard/connect", "ann@example.org"),
        ("/docs", None),
    ],
)
async def test_first_view_is_light(
    site: Site, view: View, path: str, email: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if email is not None:
        await fill(site, await site.account(email))
    viewer = await view(site, email)
    ended: list[Request] = []
    viewer.page.on("requestfinished", lambda request: ended.append(request))
    await viewer.to(path)
    await asyncio.sleep(0.2)
    sizes = {each.url: (await each.sizes())["responseBodySize"] for each in ended}
    total = sum(sizes.values())
    with capsys.disabled():
        print(f"\n{path}: {total} bytes in {len(sizes)} requests")
    assert any(url.endswith(".css") for url in sizes)
    assert 5_000 < total < MOST_BYTES, sizes
