"""Fixtures of the command line's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from kurolproxy.demo.vendor import DemoVendor
from tests.cli.sites import LIMIT_S, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an installation with the usual configuration and no state yet."""
    site = Site(tmp_path)
    site.write()
    return site


@pytest.fixture
async def living(site: Site) -> AsyncIterator[Site]:
    """Return an installation whose vendor lives, with one account."""
    vendor = DemoVendor(api_key="vendor-key")
    await vendor.start()
    site.write(vendor_url=vendor.base_url)
    await asyncio.to_thread(site.account)
    yield site
    await vendor.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=LIMIT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield session
