"""The frame in a browser: nothing breaks the policy, icons show, errors are told."""

from __future__ import annotations

from tests.browser.conftest import View
from tests.browser.sites import Site


async def test_page_with_the_frame_breaks_no_rule(site: Site, view: View) -> None:
    viewer = await view(site, "ann@example.org", role="admin")
    viewer.expect("status of 404")
    await viewer.to("/dashboard/nothing")
    assert await viewer.page.title() == "Not found · Kurol Proxy"
    await viewer.page.screenshot(path="/tmp/f1.png")
