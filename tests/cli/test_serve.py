"""``serve`` as a process: refusals, signals, and verbs against a gateway that runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest

from tests.cli.sites import AS_ROOT, COMMAND, LIMIT_S, Site, call, end, finish, told

ANN = "ann@example.org"
CLIENTS = 50


# --- what it refuses --------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused for being root")
async def test_root_is_refused(site: Site) -> None:
    code, out, err = await site.verb("serve")
    assert (code, out) == (78, "")
    assert "--allow-root" in err
    assert not site.state_dir.exists()


REFUSED = [
    ("unknown key", '[server]\nstat_dir = "x"\n', 'did you mean "state_dir"'),
    ("unset secret", None, "VENDOR_KEY is not set"),
    (
        "address of nobody here",
        '[server]\nlisten = "192.0.2.1:0"\nstate_dir = "s"\n[metrics]\nlisten = ""\n',
        "192.0.2.1",
    ),
]


@pytest.mark.parametrize(
    ("text", "said"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
async def test_configuration_that_cannot_be_used_exits_with_78(
    site: Site, text: str | None, said: str
) -> None:
    site.write(text)
    code, out, err = await site.verb("serve", *AS_ROOT)
    assert (code, out) == (78, "")
    assert said in err
    assert "Traceback" not in err


async def test_busy_port_exits_with_78_and_names_the_address(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        site.write(f'[server]\nlisten = "{address}"\nstate_dir = "s"\n[metrics]\nlisten = ""\n')
        code, _, err = await site.verb("serve", *AS_ROOT)
    assert code == 78
    assert f"cannot listen on {address}" in err


async def test_damaged_database_exits_with_78_and_stays_as_it_is(site: Site) -> None:
    site.write('[server]\nlisten = "127.0.0.1:0"\nstate_dir = "state"\n')
    site.state_dir.mkdir()
    path = site.state_dir / "kurolproxy.db"
    path.write_bytes(b"no database" * 1_000)
    code, _, err = await site.verb("serve", *AS_ROOT)
    assert (code, "Traceback" in err) == (78, False)
    assert path.read_bytes() == b"no database" * 1_000


async def test_second_serve_exits_with_1_and_names_the_first(living: Site) -> None:
    async with living.serving() as first:
        command = (*COMMAND, "--config", str(living.config), "serve", *AS_ROOT)
        code, out, err = await finish(*command, VENDOR_KEY="vendor-key")
        assert (code, out) == (1, "")
        assert f"process {first.process.pid}" in err
        assert first.process.returncode is None


# --- how it ends ------------------------------------------------------------------------


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_it_cleanly(living: Site, by: signal.Signals) -> None:
    async with living.serving() as served:
        assert await end(served.process, by) == 0
    assert [line["event"] for line in served.events()] == ["started", "no_admin", "stopping"]
    assert not (living.state_dir / "control.sock").exists()


async def test_hang_up_does_not_end_it(living: Site, http: aiohttp.ClientSession) -> None:
    async with living.serving() as served:
        served.process.send_signal(signal.SIGHUP)
        async with http.get(f"{served.base_url}/livez") as response:
            assert response.status == 200


async def test_started_line_says_where_it_listens(
    living: Site, http: aiohttp.ClientSession
) -> None:
    async with living.serving() as served:
        assert served.started["pid"] == served.process.pid
        async with http.get(f"{served.base_url}/readyz") as response:
            assert response.status == 200


async def test_killed_gateway_leaves_nothing_in_the_way(
    living: Site, http: aiohttp.ClientSession
) -> None:
    async with living.serving() as served:
        await served.kill()
    assert (living.state_dir / "control.sock").exists()
    # Neither its socket nor its lock file is taken for a gateway that runs.
    code, _, _ = await living.verb("status")
    assert code == 3
    assert len(await asyncio.to_thread(living.json, "users", "list")) == 1
    async with living.serving():
        assert (await told(living, "status"))["running"] is True


# --- verbs while it runs ----------------------------------------------------------------


async def test_status_tells_what_runs(living: Site) -> None:
    async with living.serving() as served:
        status = await told(living, "status")
        code, text, _ = await living.verb("status")
    assert status["pid"] == served.process.pid
    assert status["addresses"] == served.started["listen"]
    assert status["requests_in_flight"] == 0
    assert (code, f"{served.process.pid}\n" in text) == (0, True)


async def test_key_from_the_command_line_works_at_once_and_its_usage_is_reported_at_once(
    living: Site, http: aiohttp.ClientSession
) -> None:
    async with living.serving() as served:
        made = await told(living, "keys", "create", "--email", ANN)
        answer = await call(http, served.base_url, str(made["key"]))
        assert answer.status == 200
        report = json.loads((await living.verb("usage", "--json"))[1])
        assert [each["requests"] for each in report] == [1]
    # The same from the database, after the gateway.
    assert await asyncio.to_thread(living.json, "usage") == report


async def test_revoked_key_is_dead_for_every_request_after_the_command(
    living: Site, http: aiohttp.ClientSession
) -> None:
    made = await asyncio.to_thread(living.key)
    async with living.serving() as served:
        calls = Calls(http, served.base_url, str(made["key"]))
        clients = [asyncio.create_task(calls.loop()) for _ in range(CLIENTS)]
        await asyncio.wait_for(calls.answered.wait(), LIMIT_S)
        revoked = await told(living, "keys", "revoke", str(made["id"]))
        calls.revoked = True
        await asyncio.wait_for(asyncio.gather(*clients), LIMIT_S)
        assert revoked["status"] == "revoked"
        assert calls.before
        assert calls.after == [401] * CLIENTS
        await served.kill()
    # Durable when the command had returned, not only in memory.
    async with living.serving() as served:
        assert (await call(http, served.base_url, str(made["key"]))).status == 401


class Calls:
    """Clients that call in a loop until their key was revoked and once more after it."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, key: str) -> None:
        self.revoked = False
        self.before: list[int] = []
        self.after: list[int] = []
        self.answered = asyncio.Event()
        self._http = http
        self._where = (base_url, key)

    async def loop(self) -> None:
        while not self.revoked:
            self.before.append((await call(self._http, *self._where)).status)
            if len(self.before) > CLIENTS:
                self.answered.set()
        self.after.append((await call(self._http, *self._where)).status)


@pytest.mark.parametrize(("flags", "ended"), [((), 0), (("--now",), 1)])
async def test_running_stream_ends_only_with_now(
    living: Site, http: aiohttp.ClientSession, flags: tuple[str, ...], ended: int
) -> None:
    made = await asyncio.to_thread(living.key)
    body = {
        "model": "demo-slow",
        "stream": True,
        "messages": [{"role": "user", "content": "Say 120 words"}],
    }
    async with living.serving() as served:
        headers = {"authorization": f"Bearer {made['key']}"}
        url = f"{served.base_url}/v1/chat/completions"
        async with http.post(url, json=body, headers=headers) as stream:
            await stream.content.readuntil(b"content")
            revoked = await told(living, "keys", "revoke", str(made["id"]), *flags)
            rest = await stream.read()
    assert revoked["ended_calls"] == ended
    assert (b"[DONE]" in rest) is (ended == 0)
    assert (b'"error"' in rest) is (ended == 1)


async def test_plan_that_the_running_gateway_does_not_have_is_refused(living: Site) -> None:
    async with living.serving():
        living.config.write_text(living.config.read_text().replace('"solo"', '"next"'))
        code, _, err = await living.verb("users", "set-plan", ANN, "next")
        plans = json.loads((await living.verb("plans", "--json"))[1])
    assert (code, "there are: team, solo" in err) == (1, True)
    assert [each["name"] for each in plans] == ["team", "solo"]


async def test_model_is_asked_through_the_gateway(living: Site) -> None:
    made = await asyncio.to_thread(living.key)
    async with living.serving() as served:
        for protocol in ("openai-chat", "anthropic"):
            code, out, err = await finish(
                *COMMAND,
                *("ask", "echo", "Good morning", "--protocol", protocol),
                KUROL_API_KEY=str(made["key"]),
                KUROL_BASE_URL=served.base_url,
            )
            assert (code, out, err) == (0, "Good morning\n", "")


# --- as root ----------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up root")
@pytest.mark.parametrize("there", [True, False], ids=["directory there", "only its folder"])
async def test_verb_of_root_leaves_no_file_of_root_s(there: bool) -> None:
    # Not in tmp_path: only root can look into the folders above it.
    with TemporaryDirectory() as folder:
        site = Site(Path(folder))
        site.write()
        made = [site.folder, site.state_dir] if there else [site.folder]
        for path in made:
            os.makedirs(path, exist_ok=True)
            os.chown(path, 12_345, 12_346)
        for verb in ROOT_S:
            code, _, err = await site.verb(*verb)
            assert code == 0, err
        found = [site.state_dir, *site.state_dir.iterdir()]
        owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in found}
    assert set(owners.values()) == {(12_345, 12_346)}
    assert "kurolproxy.db" in owners


ROOT_S = [
    ("users", "create", "--email", ANN, "--plan", "team"),
    ("keys", "create", "--email", ANN),
    ("users", "list"),
    ("usage",),
]
