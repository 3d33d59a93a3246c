"""A running demo vendor and the clients that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import anthropic
import openai
import pytest

from kurolproxy.demo.vendor import DemoVendor


@pytest.fixture
async def vendor() -> AsyncIterator[DemoVendor]:
    server = DemoVendor(pace_s=0.0, clock=lambda: 1_700_000_000.5)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def http(vendor: DemoVendor) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(vendor.base_url) as session:
        yield session


@pytest.fixture
async def openai_client(vendor: DemoVendor) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{vendor.base_url}/v1", api_key="any", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def anthropic_client(vendor: DemoVendor) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=vendor.base_url, api_key="any", max_retries=0
    ) as client:
        yield client
