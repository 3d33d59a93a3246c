"""``demo`` as a process: what it prints works as it stands, and nothing is left of it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from click.testing import CliRunner
from google import genai

from kurolproxy.cli.demo import Site as DemoSite
from kurolproxy.cli.demo import configure
from kurolproxy.cli.main import main
from kurolproxy.config.presets import AVAILABLE
from tests.cli.sites import COMMAND, LIMIT_S, clean_environment, end

MODELS = ["demo-echo", "demo-tools", "demo-slow", "demo-think"]


@asynccontextmanager
async def demo(
    folder: Path, *args: str, by: signal.Signals = signal.SIGTERM
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``demo`` with its temporary folder inside ``folder``."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "demo", *args),
        env=clean_environment(TMPDIR=str(folder)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        assert await end(process, by) == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose path leaves room for a socket's, as tmp_path may not."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def names(folder: Path) -> list[str]:
    """Return what is in a folder, without the random part of names."""
    return [path.name[:-8] for path in folder.iterdir()]


async def facts(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Return the line of ``demo --json``."""
    assert process.stdout is not None
    value: dict[str, Any] = json.loads(await asyncio.wait_for(process.stdout.readline(), LIMIT_S))
    return value


async def welcome(process: asyncio.subprocess.Process) -> str:
    """Return what ``demo`` prints for people."""
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readuntil(b"ssh -L"), LIMIT_S)).decode()


async def test_json_is_one_line_that_says_all(folder: Path) -> None:
    async with demo(folder, "--port", "0", "--json") as process:
        found = await facts(process)
        names = ["base_url", "dashboard_url", "key", "metrics_url", "models", "pid"]
        assert sorted(found) == names
        assert found["models"] == MODELS
        assert found["pid"] == process.pid
        async with aiohttp.ClientSession() as http:
            async with http.get(found["metrics_url"]) as response:
                assert "kurol_requests" in await response.text()
            headers = {"authorization": f"Bearer {found['key']}"}
            async with http.get(f"{found['base_url']}/v1/models", headers=headers) as response:
                assert [each["id"] for each in (await response.json())["data"]] == MODELS
    assert process.stdout is not None
    assert await process.stdout.read() == b""


async def test_dashboard_link_logs_in_as_an_admin_as_often_as_one_likes(folder: Path) -> None:
    async with demo(folder, "--port", "0") as process:
        told = await welcome(process)
        first = next(line for line in told.splitlines() if line.startswith("  "))
        name, link = first.split()
        assert name == "Dashboard"
        origin = link.partition("/dashboard")[0]
        for _ in range(2):
            # Cookies of addresses, too: as a browser keeps them.
            jar = aiohttp.CookieJar(unsafe=True)
            async with aiohttp.ClientSession(cookie_jar=jar) as http:
                async with http.get(link) as response:
                    form = await response.text()
                csrf = re.search(r'name="csrf" value="(\w+)"', form)
                assert csrf is not None
                headers = {"origin": origin}
                async with http.post(link, data={"csrf": csrf[1]}, headers=headers) as response:
                    assert response.status == 200
                    assert str(response.url).startswith(f"{origin}/dashboard/")
                async with http.get(f"{origin}/dashboard/account/security") as response:
                    page = await response.text()
                assert "demo@example.org" in page
                assert "/dashboard/admin/accounts" in page


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_line_works_as_it_is_printed(folder: Path) -> None:
    async with demo(folder, "--port", "0") as process:
        line = next(each for each in (await welcome(process)).splitlines() if "curl" in each)
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        out, _ = await asyncio.wait_for(shell.communicate(), LIMIT_S)
    frames = [each.removeprefix("data: ") for each in out.decode().strip().split("\n\n")]
    assert frames[-1] == "[DONE]"
    chunks = [json.loads(each) for each in frames[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text == "Hello!"


async def test_settings_of_the_sdks_work_as_they_are_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with demo(folder, "--port", "0") as process:
        for name, value in re.findall(r"\b([A-Z_]+)=(\S+)", await welcome(process)):
            monkeypatch.setenv(name, value)
        async with openai.AsyncOpenAI(max_retries=0) as client:
            chat = await client.chat.completions.create(
                model="demo-echo", messages=[{"role": "user", "content": "one"}]
            )
        assert chat.choices[0].message.content == "one"
        with genai.Client() as google:
            said = await asyncio.to_thread(
                google.models.generate_content, model="demo-echo", contents="four"
            )
        assert said.text == "four"
        async with anthropic.AsyncAnthropic(max_retries=0) as messages:
            message = await messages.messages.create(
                model="demo-echo", max_tokens=50, messages=[{"role": "user", "content": "two"}]
            )
        assert [each.text for each in message.content if each.type == "text"] == ["two"]
        ask = await asyncio.create_subprocess_exec(
            *(*COMMAND, "ask", "demo-think", "three"), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(ask.communicate(), LIMIT_S)
    assert out == b"three\n"


async def test_busy_ports_move_it_to_the_next_free_ones(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy, _metrics_port_taken():
        port = busy.getsockname()[1]
        async with demo(folder, "--port", str(port), "--json") as process:
            found = await facts(process)
    assert port < int(found["base_url"].rpartition(":")[2]) <= port + 200
    assert int(found["metrics_url"].removesuffix("/metrics").rpartition(":")[2]) > 9469


def _metrics_port_taken() -> socket.socket:
    """Return a socket that holds the usual port of metrics, unless somebody else does."""
    holder = socket.socket()
    try:
        holder.bind(("127.0.0.1", 9469))
        holder.listen()
    except OSError:
        holder.close()
    return holder


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_nothing_is_left_when_it_ends(folder: Path, by: signal.Signals) -> None:
    async with demo(folder, "--port", "0", "--json", by=by) as process:
        await facts(process)
        assert names(folder) == ["kurolproxy-demo-"]
    assert names(folder) == []


async def test_temporary_folder_that_is_too_deep_for_a_socket_is_not_used(folder: Path) -> None:
    deep = folder / ("d" * 80)
    deep.mkdir()
    async with demo(deep, "--port", "0", "--json") as process:
        assert (await facts(process))["models"] == MODELS
        assert names(deep) == []


async def test_it_ends_while_a_stream_runs(folder: Path) -> None:
    async with aiohttp.ClientSession() as http, demo(folder, "--port", "0", "--json") as process:
        found = await facts(process)
        body = {
            "model": "demo-slow",
            "stream": True,
            "messages": [{"role": "user", "content": "9000 words"}],
        }
        headers = {"authorization": f"Bearer {found['key']}"}
        url = f"{found['base_url']}/v1/chat/completions"
        response = await http.post(url, json=body, headers=headers)
        await response.content.readuntil(b"content")
        assert await end(process) == 0
        response.close()
    assert names(folder) == []


def test_configuration_of_the_demo_has_no_warning() -> None:
    site = DemoSite(Path("/tmp/state"), "http://127.0.0.1:1", "a-key-with-${no}-reference")
    config = configure(site, 8080, 9469)
    upstream = config.catalog.upstreams["demo"]
    assert config.warnings == ()
    assert upstream.api_keys == (site.vendor_key,)
    assert list(config.catalog.models) == MODELS
    assert upstream.protocols == AVAILABLE
    assert config.server.listen == ("127.0.0.1:8080",)
    assert config.metrics.listen == "127.0.0.1:9469"


def test_port_that_is_none_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["demo", "--port", "70000"]).exit_code == 2
