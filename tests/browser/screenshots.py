"""Take the pictures of the README: ``python -m tests.browser.screenshots FOLDER``."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from PIL import Image
from playwright.async_api import Page, async_playwright

from kurolproxy.server.state import Clock
from tests.browser.conftest import CHROMIUM, Theme, Viewer, launched, open_window
from tests.browser.sites import Site, fill, serving

# A Friday afternoon; it goes on from there.
_BEGAN = datetime(2026, 11, 20, 14, 30, tzinfo=UTC).timestamp()
_MOST_BYTES = 150_000
_PUBLIC = 'public_url = "http://localhost:8080"'
_EMAIL = "ann@example.org"
_TOOLS = {
    "claude-code": ("claude-cli/2.1.0 (external, cli)", "/v1/messages", "demo-think"),
    "codex": ("codex_cli_rs/0.60.0 (Debian 12; x86_64)", "/v1/responses", "demo-think"),
    "laptop": ("curl/8.14.1", "/v1/chat/completions", "demo-echo"),
}
_PROMPT = "What does a gateway in front of language models do?"
# What a coding agent sends along: its instructions, tools and files.
_FILES = "def gateway(request): ...\n" * 9_000


@dataclass(frozen=True, slots=True)
class Picture:
    """One file: what it shows, how wide, and what is done before it is taken."""

    name: str
    path: str
    width: int = 1280
    height: int = 860
    theme: Theme = "light"


PICTURES = (
    Picture("overview", "/dashboard/"),
    Picture("overview-dark", "/dashboard/", theme="dark"),
    Picture("overview-narrow", "/dashboard/", width=390, height=844),
    Picture("keys", "/dashboard/keys"),
    Picture("usage", "/dashboard/usage"),
    Picture("connect", "/dashboard/connect?tool=claude-code"),
    Picture("playground", "/dashboard/playground"),
    Picture("upstreams", "/dashboard/admin/upstreams"),
)


def clock() -> Clock:
    """Return the time of the pictures."""
    began = time.monotonic()
    return Clock(unix=lambda: _BEGAN + time.monotonic() - began)


async def take(folder: Path) -> None:
    """Take all pictures."""
    with TemporaryDirectory() as state:
        async with (
            serving(Path(state), server=_PUBLIC, clock=clock(), pace_s=0.3) as site,
            async_playwright() as playwright,
            launched(playwright) as chromium,
        ):
            token, keys = await furnish(site)
            running = [asyncio.create_task(ask(site, keys, "laptop", "demo-slow"))]
            for label in [*_TOOLS, "codex", "laptop", *_TOOLS]:
                await ask(site, keys, label)
            for picture in PICTURES:
                viewer = await open_window(
                    chromium, site, token, width=picture.width, theme=picture.theme
                )
                await viewer.page.set_viewport_size(
                    {"width": picture.width, "height": picture.height}
                )
                await shoot(viewer, picture, folder)
                await viewer.context.close()
            for task in running:
                task.cancel()


async def furnish(site: Site) -> tuple[str, dict[str, str]]:
    """Make people, keys and a month of usage; return a session's token and the keys."""
    account = await site.account(_EMAIL, role="admin", name="Ann Example")
    keys = {label: await site.key(_EMAIL, label) for label in _TOOLS}
    await fill(site, account)
    return site.log_in(account), keys


async def ask(site: Site, keys: dict[str, str], label: str, model: str = "") -> None:
    """Call as a tool does."""
    agent, path, usual = _TOOLS[label]
    body: dict[str, Any] = {"model": model or usual, "stream": True}
    text = _PROMPT if label == "laptop" else _FILES + _PROMPT
    if path == "/v1/responses":
        body |= {"input": text, "max_output_tokens": 2_000}
    else:
        body |= {"messages": [{"role": "user", "content": text}], "max_tokens": 2_000}
    headers = {"authorization": f"Bearer {keys[label]}", "user-agent": agent}
    async with (
        aiohttp.ClientSession() as http,
        http.post(site.base_url + path, json=body, headers=headers) as answer,
    ):
        await answer.read()


async def shoot(viewer: Viewer, picture: Picture, folder: Path) -> None:
    """Take one picture and write it."""
    page = viewer.page
    await page.clock.set_system_time(_BEGAN + 60)
    await viewer.to(picture.path)
    if picture.name == "playground":
        await play(page)
    # What comes by the live stream comes within half a second.
    await page.wait_for_timeout(1_000)
    data = shrunk(await page.screenshot())
    assert len(data) <= _MOST_BYTES, f"{picture.name}: {len(data)} bytes"
    (folder / f"{picture.name}.png").write_bytes(data)
    print(f"{picture.name}.png {len(data)}")


async def play(page: Page) -> None:
    """Ask something in the playground."""
    await page.get_by_label("Model", exact=True).select_option("demo-think")
    await page.get_by_label("Endpoint").select_option(label="Messages")
    await page.get_by_label("Prompt", exact=True).fill(_PROMPT)
    await page.get_by_label("Ask for reasoning").check()
    await page.get_by_role("button", name="Send").click()
    await page.wait_for_timeout(1_500)


def shrunk(png: bytes) -> bytes:
    """Return the same picture in fewer colours, which nobody misses: a third of the bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    out = io.BytesIO()
    few = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("no browser: install the package chromium")
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(target))
