"""``ledger verify``: with a gateway, without one, and after one was killed."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest

from kurolproxy.storage.lock import StateDirectory
from kurolproxy.storage.migrate import prepare
from kurolproxy.storage.rows import encode_row, line
from kurolproxy.storage.usage import insert_rows
from tests.cli.sites import Site, call, told
from tests.server.desks import Ledger, control_of
from tests.storage.usage_rows import row


def fill(site: Site) -> None:
    """Make a database with three rows."""
    site.account()
    with closing(sqlite3.connect(site.state_dir / "kurolproxy.db", isolation_level=None)) as db:
        db.execute("BEGIN")
        insert_rows(db, [row("r1"), row("r2"), row("r3", account_id=2)])
        db.execute("COMMIT")


def tamper(site: Site) -> None:
    with closing(sqlite3.connect(site.state_dir / "kurolproxy.db")) as db:
        db.execute("UPDATE usage SET prompt = 1 WHERE request_id = 'r1'")
        db.commit()


def test_ledger_without_a_difference_exits_with_0_and_a_summary(site: Site) -> None:
    fill(site)
    result = site.run("ledger", "verify")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("3 rows of 2 accounts on 1 day checked in ")
    assert result.stderr == ""


def test_difference_is_printed_with_its_requests_and_exits_with_1(site: Site) -> None:
    fill(site)
    tamper(site)
    result = site.run("ledger", "verify")
    assert result.exit_code == 1
    first, second, third, summary = result.stdout.splitlines()
    assert first == (
        "2026-03-02, account 1: the row of r1 was changed: its checksum does not fit it"
        " (requests of ann@example.org: r1)"
    )
    assert "daily sums" in second
    assert "hourly sums" in third
    assert summary.startswith("3 rows")
    assert result.stderr == "kurolproxy: the ledger does not agree with itself: 3 differences\n"


def test_json_has_every_figure(site: Site) -> None:
    fill(site)
    tamper(site)
    result = site.run("ledger", "verify", "--json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    seconds, differences = said.pop("seconds"), said.pop("differences")
    assert said == {
        "ok": False,
        "days": 1,
        "rows": 3,
        "accounts": 2,
        "rows_without_checksum": 0,
        "journal_rows": 0,
        "pending_rows": 0,
        "differences_not_listed": 0,
    }
    assert 0 <= seconds < 10
    assert [each["kind"] for each in differences] == ["row", "daily", "hourly"]
    assert differences[1]["figures"] == {"prompt": [200, 101]}
    assert differences[1]["request_ids"] == ["r1"]


def test_days_before_since_are_not_checked(site: Site) -> None:
    fill(site)
    tamper(site)
    assert site.json("ledger", "verify", "--since", "2026-03-03")["rows"] == 0


def test_rows_that_a_killed_gateway_left_in_the_journal_are_pending(site: Site) -> None:
    fill(site)
    folder = site.state_dir / "journal"
    folder.mkdir()
    (folder / f"{1:020}.log").write_bytes(line(encode_row(row("r4")), 0))
    said = site.json("ledger", "verify")
    assert (said["rows"], said["journal_rows"], said["pending_rows"]) == (3, 1, 1)


def test_damaged_database_names_the_remedy(site: Site) -> None:
    fill(site)
    path = site.state_dir / "kurolproxy.db"
    data = bytearray(path.read_bytes())
    data[4_096:] = b"x" * (len(data) - 4_096)
    path.write_bytes(data)
    result = site.run("ledger", "verify")
    assert result.exit_code == 1
    assert "Restore a backup" in result.stderr


def test_without_a_database_nothing_is_made(site: Site) -> None:
    result = site.run("ledger", "verify")
    assert result.exit_code == 1
    assert "no gateway has started there yet" in result.stderr
    assert not site.state_dir.exists()


def test_directory_that_somebody_holds_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(site)
    monkeypatch.setattr("kurolproxy.cli.beside._LOCK_WAIT_S", 0.1)
    with StateDirectory(site.state_dir).hold():
        result = site.run("ledger", "verify")
    assert result.exit_code == 1
    assert f"in use by process {os.getpid()}" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files of root's")
async def test_root_leaves_no_file_of_its_own() -> None:
    with TemporaryDirectory() as folder:
        site = Site(Path(folder))
        site.write()
        site.state_dir.mkdir(mode=0o700)
        path = site.state_dir / "kurolproxy.db"
        prepare(path, busy_timeout_s=1.0)
        for each in (path, site.state_dir):
            os.chown(each, 12_345, 12_345)
        with closing(sqlite3.connect(path)) as db:
            # It keeps the files beside the database from being removed.
            db.execute("SELECT count(*) FROM usage").fetchall()
            code, _, err = await site.verb("ledger", "verify")
            assert code == 0, err
            owners = {each.name: each.stat().st_uid for each in site.state_dir.iterdir()}
    assert owners == dict.fromkeys(
        ["kurolproxy.db", "kurolproxy.db-wal", "kurolproxy.db-shm", "lock"], 12_345
    )


async def test_call_that_just_ended_is_checked_while_the_gateway_runs(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key = (await asyncio.to_thread(living.key))["key"]
    async with living.serving() as served:
        assert (await call(http, served.base_url, key)).status == 200
        said = await told(living, "ledger", "verify")
        assert (said["rows"], said["pending_rows"], said["differences"]) == (1, 0, [])


async def test_gateway_is_asked_to_import_what_it_has(site: Site) -> None:
    await asyncio.to_thread(site.account)
    ledger = Ledger()
    async with control_of(site.state_dir, ledger):
        await told(site, "ledger", "verify")
    assert ledger.log == ["flush"]


async def test_gateway_under_load_has_no_difference(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key = (await asyncio.to_thread(living.key))["key"]
    over = asyncio.Event()
    async with living.serving() as served:

        async def client() -> None:
            while not over.is_set():
                assert (await call(http, served.base_url, key)).status == 200

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(client())
            said = [await told(living, "ledger", "verify") for _ in range(3)]
            over.set()
    assert [each["differences"] for each in said] == [[], [], []]
    rows = [each["rows"] for each in said]
    assert 0 < rows[0] < rows[-1]


async def test_killed_gateway_leaves_a_ledger_without_a_difference(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key = (await asyncio.to_thread(living.key))["key"]
    async with living.serving() as served:
        for _ in range(5):
            await call(http, served.base_url, key)
        await served.kill()
    said = await told(living, "ledger", "verify")
    assert said["differences"] == []
    assert said["rows"] + said["pending_rows"] == 5


def test_check_leaves_no_file_behind(site: Site) -> None:
    fill(site)
    assert site.run("ledger", "verify").exit_code == 0
    assert sorted(each.name for each in site.state_dir.iterdir()) == ["kurolproxy.db", "lock"]
