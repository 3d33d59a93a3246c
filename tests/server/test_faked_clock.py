"""A gateway in a process of its own whose wall clock jumps, by Debian's faketime."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.cli.sites import LIMIT_S, Site
from tests.fakes.upstream import FakeUpstream
from tests.server.families import configuration, plan, request
from tests.server.walls import NO, YES, answer, duration_s

PLAN = plan("day", daily_tokens=1_000)
FAKETIME = shutil.which("faketime")
# What the clock of the process shows; a line with "restart" ends it and starts it again.
FAKED = [
    ("2026-03-02 22:30:00", YES, "2026-03-02"),
    ("2026-03-03 23:30:00", YES, "2026-03-03"),
    ("2026-03-02 22:31:00", NO, "2026-03-03"),
    ("restart", NO, "2026-03-03"),
    ("2099-01-01 12:00:00", YES, "2099-01-01"),
    ("2026-03-03 12:00:00", NO, "2026-03-03"),
    ("2026-03-04 00:00:00", YES, "2026-03-04"),
    ("2099-01-01 12:05:00", NO, "2099-01-01"),
    ("restart", NO, "2099-01-01"),
    ("2026-03-04 00:05:00", NO, "2026-03-04"),
]


def fake_clock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of this test read their wall clock from a file."""
    assert FAKETIME is not None
    found = subprocess.run(  # the path of the library is the system's affair
        [FAKETIME, "-m", "-f", "+0", "printenv", "LD_PRELOAD"],
        capture_output=True,
        text=True,
        check=True,
    )
    monkeypatch.setenv("LD_PRELOAD", found.stdout.strip())
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(path))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    monkeypatch.setenv("TZ", "UTC")


@pytest.mark.skipif(FAKETIME is None, reason="needs faketime: install the package faketime")
async def test_process_whose_clock_jumps_gives_no_allowance_twice(
    fake: FakeUpstream,
    tmp_path: Path,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake.always(answer(1_000))
    site = Site(tmp_path)
    site.write(configuration(fake.base_url, PLAN))
    await asyncio.to_thread(site.account, plan="day")
    key = (await asyncio.to_thread(site.key))["key"]
    clock = tmp_path / "clock"
    clock.write_text(f"@{FAKED[0][0]}\n")
    fake_clock(clock, monkeypatch)
    seen = []
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(site.serving())
        for moment, _, _ in FAKED:
            if moment == "restart":
                await stack.aclose()
                served = await stack.enter_async_context(site.serving())
            else:
                (tmp_path / "next").write_text(f"@{moment}\n")
                (tmp_path / "next").replace(clock)
            path, body = request("openai-chat", "m-chat")
            headers = {"authorization": f"Bearer {key}"}
            async with asyncio.timeout(LIMIT_S):
                async with http.post(served.base_url + path, json=body, headers=headers) as got:
                    await got.read()
                async with http.get(f"{served.base_url}/v1/usage", headers=headers) as usage:
                    seen.append((moment, got.status, (await usage.json())["day"]))
            left = duration_s(got.headers["x-ratelimit-reset-tokens"])
            assert 0 < left <= 2 * 86_400
    assert seen == FAKED
