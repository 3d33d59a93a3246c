"""The control socket: who is served, what a line may be, and what is left of a dead one."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from kurolproxy.cli.control import ControlClient
from kurolproxy.cli.failure import Failed
from kurolproxy.policy.catalog import Catalog, Model, Plan, Target, Upstream
from kurolproxy.policy.keys import KeyTable
from kurolproxy.server import control
from kurolproxy.server.control import (
    MAX_LINE_BYTES,
    SOCKET_NAME,
    ControlServer,
    Desk,
    SocketInUse,
    peer_uid,
)
from kurolproxy.server.facts import Pieces
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import QueryTooLong
from kurolproxy.storage.people import People

ANN = "ann@example.org"
LIMIT_S = 20.0
UPSTREAM = Upstream("lab", ("openai-chat",), "http://127.0.0.1:1")
CATALOG = Catalog(
    [UPSTREAM],
    [Model("m-1", (Target(UPSTREAM, "big", ("openai-chat",)),), aliases=("m",))],
    [Plan("team", ("m-*",), daily_tokens=1_000), Plan("other", ("x",))],
)


class Gateway:
    """What the control server knows of a gateway."""

    def __init__(self, state_dir: Path, database: Database) -> None:
        self.state_dir = state_dir
        self.table = KeyTable()
        self.ended: list[str] = []
        self.reports: list[Mapping[str, Any]] = []
        self.report: Iterable[bytes | Exception] = [b" ", b" ", b'{"rows": [', b"7", b"]}"]
        self.left = asyncio.Event()
        self.asked = asyncio.Event()
        self.may_report = asyncio.Event()
        self.may_report.set()
        people = People(AccountStore(database, self.table), lambda: CATALOG.plans)
        self.server = ControlServer(
            state_dir, people, Desk(self.status, self.usage, lambda: CATALOG, self.end_calls)
        )

    def status(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "streams": 2}

    async def usage(self, args: Mapping[str, Any]) -> Pieces:
        self.reports.append(args)
        self.asked.set()
        await self.may_report.wait()
        return Pieces(self.pieces())

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            for each in self.report:
                if isinstance(each, Exception):
                    raise each
                yield each
        finally:
            self.left.set()

    def end_calls(self, key_id: str) -> int:
        self.ended.append(key_id)
        return 3


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    database = await Database.open(tmp_path / "kurolproxy.db")
    gateway = Gateway(tmp_path, database)
    await gateway.server.start()
    yield gateway
    await gateway.server.stop()
    await database.close()


async def ask(gateway: Gateway, verb: str, **args: Any) -> Any:
    """Call a verb as the command line does: from a thread, the loop is the gateway's."""

    def call() -> Any:
        client = ControlClient.connect(gateway.state_dir)
        assert client is not None
        with client:
            return client.call(verb, args)

    return await asyncio.wait_for(asyncio.to_thread(call), LIMIT_S)


async def sent(gateway: Gateway, data: bytes) -> bytes:
    """Send bytes, then end our side; return what comes until the server ends its own."""
    reader, writer = await asyncio.open_unix_connection(str(gateway.state_dir / SOCKET_NAME))
    writer.write(data)
    writer.write_eof()
    answers = await asyncio.wait_for(reader.read(), LIMIT_S)
    writer.close()
    return answers


async def send(gateway: Gateway, data: bytes) -> list[Any]:
    """Send bytes, then end our side; return every answer."""
    return [json.loads(line) for line in (await sent(gateway, data)).splitlines()]


# --- verbs ------------------------------------------------------------------------------


async def test_people_change_in_the_memory_of_the_gateway(gateway: Gateway) -> None:
    await ask(gateway, "users.create", email=ANN, plan="team")
    made = await ask(gateway, "keys.create", email=ANN)
    assert gateway.table.find(made["key"]) is not None
    assert (await ask(gateway, "keys.revoke", id=made["id"]))["status"] == "revoked"
    assert gateway.table.find(made["key"]) is None


@pytest.mark.parametrize(("args", "ended"), [({}, 0), ({"now": False}, 0), ({"now": True}, 3)])
async def test_running_calls_end_only_when_it_is_asked_for(
    gateway: Gateway, args: dict[str, bool], ended: int
) -> None:
    await ask(gateway, "users.create", email=ANN, plan="team")
    made = await ask(gateway, "keys.create", email=ANN)
    assert (await ask(gateway, "keys.revoke", id=made["id"], **args))["ended_calls"] == ended
    assert gateway.ended == [made["id"]] * bool(ended)


async def test_calls_of_a_key_that_is_not_there_are_not_ended(gateway: Gateway) -> None:
    with pytest.raises(Failed, match="key_x"):
        await ask(gateway, "keys.revoke", id="key_x", now=True)
    assert gateway.ended == []


async def test_status_is_what_the_gateway_says(gateway: Gateway) -> None:
    assert await ask(gateway, "status") == {"pid": os.getpid(), "streams": 2}


async def test_usage_gets_the_arguments(gateway: Gateway) -> None:
    assert await ask(gateway, "usage.report", by=["day"], since=None) == {"rows": [7]}
    assert gateway.reports == [{"by": ["day"], "since": None}]


async def test_catalog_is_told(gateway: Gateway) -> None:
    model, *_ = await ask(gateway, "models.list")
    assert (model["id"], model["aliases"], model["plans"]) == ("m-1", ["m"], ["team"])
    assert model["targets"] == [
        {
            "upstream": "lab",
            "model": "big",
            "protocols": ["openai-chat"],
            "priority": 0,
            "weight": 1,
        }
    ]
    plans = await ask(gateway, "plans.list")
    assert [(each["name"], each["daily_tokens"]) for each in plans] == [
        ("team", 1_000),
        ("other", None),
    ]


async def test_one_conversation_has_many_requests(gateway: Gateway) -> None:
    answers = await send(gateway, b'{"verb": "status"}\n{"verb": "plans.list", "args": {}}\n')
    assert [answer["ok"] for answer in answers] == [True, True]


# --- results in pieces ------------------------------------------------------------------

REPORT = b'{"verb": "usage.report"}\n'
STATUS = b'{"verb": "status"}\n'


async def test_pieces_are_one_line_and_the_next_request_is_served(gateway: Gateway) -> None:
    lines = (await sent(gateway, REPORT + STATUS)).splitlines()
    assert lines[0] == b'  {"ok": true, "result": {"rows": [7]}}'
    assert json.loads(lines[1])["ok"] is True


@pytest.mark.parametrize("blanks", [0, 2])
@pytest.mark.parametrize(
    ("error", "kind"),
    [(QueryTooLong("too long"), "query_too_long"), (ZeroDivisionError(), "internal")],
)
async def test_failure_before_the_first_piece_is_an_answer(
    gateway: Gateway, blanks: int, error: Exception, kind: str
) -> None:
    gateway.report = [*[b" "] * blanks, error]
    answers = await send(gateway, REPORT + STATUS)
    assert [answer.get("kind") for answer in answers] == [kind, None]
    assert answers[1]["ok"] is True


async def test_failure_after_the_first_piece_cuts_the_answer(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.report = [b" ", b'{"rows": [1', QueryTooLong("a page could not be read")]
    answer = await sent(gateway, REPORT + STATUS)
    assert answer == b' {"ok": true, "result": {"rows": [1'
    assert "cut short: a page could not be read" in caplog.text
    # The gateway itself is well.
    assert (await ask(gateway, "status"))["streams"] == 2


async def test_reader_who_goes_away_ends_the_report(gateway: Gateway) -> None:
    gateway.report = itertools.repeat(b" " * 65_536)
    _, writer = await asyncio.open_unix_connection(str(gateway.state_dir / SOCKET_NAME))
    writer.write(REPORT)
    await asyncio.wait_for(gateway.asked.wait(), LIMIT_S)
    writer.close()
    await asyncio.wait_for(gateway.left.wait(), LIMIT_S)


async def test_report_that_takes_long_does_not_hold_up_the_stop(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert control._STOP_S == 10.0
    monkeypatch.setattr(control, "_STOP_S", 0.05)
    gateway.may_report.clear()
    asking = asyncio.create_task(ask(gateway, "usage.report"))
    await asyncio.wait_for(gateway.asked.wait(), LIMIT_S)
    await asyncio.wait_for(gateway.server.stop(), LIMIT_S)
    with pytest.raises(Failed, match="stopped before it answered"):
        await asking


# --- what is refused --------------------------------------------------------------------

LINES = [
    ("no JSON", b"status\n", "malformed"),
    ("no object", b"[]\n", "malformed"),
    ("no verb", b"{}\n", "malformed"),
    ("a verb that is no text", b'{"verb": 1}\n', "malformed"),
    ("arguments that are no object", b'{"verb": "status", "args": []}\n', "malformed"),
    ("not UTF-8", b'{"verb": "\xff"}\n', "malformed"),
    ("nested without end", b"[" * 60_000 + b"\n", "malformed"),
    ("unknown verb", b'{"verb": "users.promote"}\n', "invalid"),
    ("arguments nobody takes", b'{"verb": "status", "args": {"x": 1}}\n', "invalid"),
    ("unknown account", b'{"verb": "users.delete", "args": {"email": "x@y.z"}}\n', "not_found"),
]


@pytest.mark.parametrize(("line", "kind"), [c[1:] for c in LINES], ids=[c[0] for c in LINES])
async def test_bad_line_is_answered_and_the_next_one_served(
    gateway: Gateway, line: bytes, kind: str
) -> None:
    answers = await send(gateway, line + b'{"verb": "status"}\n')
    assert [answer.get("kind") for answer in answers] == [kind, None]
    assert answers[0]["ok"] is False


async def test_line_without_an_end_is_refused(gateway: Gateway) -> None:
    answers = await send(gateway, b"x" * (2 * MAX_LINE_BYTES))
    assert [answer["kind"] for answer in answers] == ["too_long"]


async def test_half_a_line_is_nothing(gateway: Gateway) -> None:
    assert await send(gateway, b'{"verb": "status"}') == []


# --- who is served ----------------------------------------------------------------------


async def test_socket_is_private(gateway: Gateway) -> None:
    mode = (gateway.state_dir / SOCKET_NAME).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_kernel_names_the_user_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
@pytest.mark.parametrize(("uid", "served"), [(0, True), (12_345, True), (12_346, False)])
async def test_owner_and_root_are_served_and_nobody_else(uid: int, served: bool) -> None:
    with TemporaryDirectory() as folder:
        state_dir = Path(folder)
        database = await Database.open(state_dir / "kurolproxy.db")
        os.chown(state_dir, 12_345, 12_345)
        gateway = Gateway(state_dir, database)
        await gateway.server.start()
        # Who the peer is decides, not the modes of files: let everybody get to the socket.
        os.chmod(state_dir, 0o755)
        os.chmod(state_dir / SOCKET_NAME, 0o666)
        answer = await asyncio.wait_for(asyncio.to_thread(_status_as, uid, state_dir), LIMIT_S)
        await gateway.server.stop()
        await database.close()
    assert answer["ok"] is served
    assert answer.get("kind") == (None if served else "forbidden")


# The interpreter may lie where only root can start it: it changes its user afterwards.
_STATUS = """
import os, socket, sys
uid = int(sys.argv[2])
os.setgroups([]), os.setgid(uid), os.setuid(uid)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(b'{"verb": "status"}\\n')
sys.stdout.buffer.write(connection.makefile("rb").readline())
"""


def _status_as(uid: int, state_dir: Path) -> Any:
    """Ask for the status as another user, in a process of its own."""
    command = [sys.executable, "-I", "-c", _STATUS, str(state_dir / SOCKET_NAME), str(uid)]
    done = subprocess.run(command, stdout=PIPE, timeout=LIMIT_S, check=True)
    return json.loads(done.stdout)


# --- the socket file --------------------------------------------------------------------


async def test_file_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / SOCKET_NAME))
    dead.close()
    assert ControlClient.connect(tmp_path) is None
    database = await Database.open(tmp_path / "kurolproxy.db")
    gateway = Gateway(tmp_path, database)
    await gateway.server.start()
    assert (await ask(gateway, "status"))["streams"] == 2
    await gateway.server.stop()
    await database.close()


async def test_living_gateway_keeps_its_socket(gateway: Gateway) -> None:
    database = await Database.open(gateway.state_dir / "kurolproxy.db")
    second = Gateway(gateway.state_dir, database)
    with pytest.raises(SocketInUse):
        await second.server.start()
    await second.server.stop()
    assert (await ask(gateway, "status"))["streams"] == 2
    await database.close()


async def test_stopped_gateway_leaves_no_file(gateway: Gateway) -> None:
    await gateway.server.stop()
    assert not (gateway.state_dir / SOCKET_NAME).exists()
    assert ControlClient.connect(gateway.state_dir) is None


async def test_file_of_a_successor_is_left_alone(gateway: Gateway) -> None:
    path = gateway.state_dir / SOCKET_NAME
    path.unlink()
    path.touch()
    await gateway.server.stop()
    assert path.exists()


async def test_running_request_is_answered_before_the_stop(gateway: Gateway) -> None:
    gateway.may_report.clear()
    asking = asyncio.create_task(ask(gateway, "usage.report"))
    await asyncio.wait_for(gateway.asked.wait(), LIMIT_S)
    stopping = asyncio.create_task(gateway.server.stop())
    await asyncio.sleep(0)
    gateway.may_report.set()
    assert (await asking)["rows"] == [7]
    await asyncio.wait_for(stopping, LIMIT_S)


async def test_idle_conversation_does_not_hold_up_the_stop(gateway: Gateway) -> None:
    _, writer = await asyncio.open_unix_connection(str(gateway.state_dir / SOCKET_NAME))
    await asyncio.wait_for(gateway.server.stop(), LIMIT_S)
    writer.close()


async def test_client_says_that_the_gateway_stopped_meanwhile(tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / SOCKET_NAME))
    listening.listen()
    client = ControlClient.connect(tmp_path)
    assert client is not None
    listening.accept()[0].close()
    listening.close()
    with client, pytest.raises(Failed, match="gateway"):
        client.call("status", {})


async def test_too_long_a_request_is_not_sent(gateway: Gateway) -> None:
    with pytest.raises(Failed, match="too long"):
        await ask(gateway, "users.create", email="x" * MAX_LINE_BYTES, plan="team")
