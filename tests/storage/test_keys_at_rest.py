"""No secret is on the disk: not in the database, its WAL, the journal, a backup or the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kurolproxy.demo.vendor import DemoVendor
from tests.cli.sites import LIMIT_S, Site, told

ANN = "ann@example.org"
MESSAGES = [{"role": "user", "content": "Hi!"}]
CONTENTS = [{"role": "user", "parts": [{"text": "Hi!"}]}]


@pytest.fixture
async def living(tmp_path: Path) -> AsyncIterator[Site]:
    """Yield an installation whose vendor lives, with one account."""
    vendor = DemoVendor(api_key="vendor-key")
    await vendor.start()
    site = Site(tmp_path)
    site.write(vendor_url=vendor.base_url)
    await asyncio.to_thread(site.account)
    yield site
    await vendor.stop()


class Client:
    """Somebody who calls with keys, in every place where a route looks for one."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http = http
        self._base_url = base_url

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> int:
        async with self._http.post(self._base_url + path, json=body, headers=headers) as response:
            await response.read()
            return response.status

    async def everywhere(self, key: str) -> list[int]:
        """Call with one key: as a bearer, as x-api-key, as x-goog-api-key, in the query."""
        chat = {"model": "demo-echo", "messages": MESSAGES}
        gemini = "/v1beta/models/demo-echo:generateContent"
        contents = {"contents": CONTENTS}
        return [
            await self.post("/v1/chat/completions", chat, authorization=f"Bearer {key}"),
            await self.post("/v1/messages", {**chat, "max_tokens": 9}, **{"x-api-key": key}),
            await self.post(gemini, contents, **{"x-goog-api-key": key}),
            await self.post(f"{gemini}?key={key}", contents),
            # Where no query counts, it is not looked at, and not noted either.
            await self.post(f"/v1/chat/completions?key={key}", chat),
        ]


def holding(folder: Path, secrets: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the files that hold one of some texts, and the names of all files."""
    found: dict[str, list[str]] = {}
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            names.append(path.name)
            # Half a secret is a secret that was cut.
            held = [each for each in secrets if each.encode()[9:40] in data]
            if held:
                found[path.name] = held
    return found, names


async def test_no_secret_is_found_in_anything_that_was_written(
    living: Site, tmp_path: Path
) -> None:
    timeout = aiohttp.ClientTimeout(total=LIMIT_S)
    made = [await asyncio.to_thread(living.key, *args) for args in ((), ("--label", "ci"))]
    await asyncio.to_thread(living.account, "root@example.org", role="admin")
    admin = await asyncio.to_thread(living.key, "--admin", email="root@example.org")
    ours = [str(each["key"]) for each in (*made, admin)]
    wrong = "sk-kurol-" + "Wr0ngWr0ng" * 4
    async with (
        living.serving() as served,
        aiohttp.ClientSession(timeout=timeout) as http,
    ):
        client = Client(http, served.base_url)
        ours.append(str((await told(living, "keys", "create", "--email", ANN))["key"]))
        assert await client.everywhere(ours[0]) == [200, 200, 200, 200, 401]
        rotated = await told(living, "keys", "rotate", str(made[1]["id"]))
        ours.append(str(rotated["key"]))
        assert await client.everywhere(ours[1]) == [401] * 5
        assert (await client.everywhere(ours[-1]))[0] == 200
        # No key for models; a wrong one.
        assert 200 not in await client.everywhere(ours[2])
        assert await client.everywhere(wrong) == [401] * 5
        await told(living, "backup", str(tmp_path / "copy.db"))
        # These are in the journal, and perhaps in the WAL, when it is killed.
        assert (await client.everywhere(ours[3]))[0] == 200
        await served.kill()
    found, names = holding(tmp_path, [*ours, wrong])
    assert {"kurolproxy.db", "kurolproxy.db-wal", "kurolproxy.db-shm", "copy.db", "log"} <= {*names}
    assert any(name.endswith(".log") for name in names)
    assert found == {}
    # They would have been found: this is how.
    (tmp_path / "note").write_text(f"the key is {ours[0]}")
    assert holding(tmp_path, ours)[0] == {"note": [ours[0]]}
