"""``backup``: with a gateway and without one, and what a restored backup serves."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from kurolproxy.cli import backup
from kurolproxy.cli.backup import ending_properly
from kurolproxy.cli.control import ControlClient
from kurolproxy.server import control
from kurolproxy.storage import recovery
from kurolproxy.storage.rows import encode_row, line
from tests.cli.sites import LIMIT_S, Site, call, told
from tests.server.desks import Ledger, control_of
from tests.storage.usage_rows import row


def ids_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [id_ for (id_,) in db.execute("SELECT request_id FROM usage ORDER BY request_id")]


def leave_in_journal(site: Site, *ids: str) -> Path:
    """Write a file of the journal, as a killed gateway leaves it."""
    folder = site.state_dir / "journal"
    folder.mkdir()
    path = folder / f"{1:020}.log"
    path.write_bytes(b"".join(line(encode_row(row(each)), index) for index, each in enumerate(ids)))
    return path


# --- while no gateway runs --------------------------------------------------------------


def test_copy_has_what_a_killed_gateway_left_in_the_journal(site: Site, tmp_path: Path) -> None:
    site.account()
    left = leave_in_journal(site, "r1", "r2")
    target = tmp_path / "copy.db"
    told = site.json("backup", str(target))
    assert ids_of(target) == ["r1", "r2"]
    assert not left.exists()
    assert told.pop("seconds") >= 0
    assert told == {
        "path": str(target),
        "bytes": target.stat().st_size,
        "missing_rows": 0,
        "restarts": 0,
    }


def test_rows_that_cannot_be_imported_are_told_and_the_copy_is_kept(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.account()
    left = leave_in_journal(site, "r1", "r2")
    monkeypatch.setattr(recovery, "_RECOVER_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect(site.state_dir / "kurolproxy.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        result = site.run("backup", str(tmp_path / "copy.db"))
    assert result.exit_code == 1
    assert "2 rows of usage are not in the copy" in result.stderr
    assert ids_of(tmp_path / "copy.db") == []
    assert left.exists()


def test_summary_names_the_file(site: Site, tmp_path: Path) -> None:
    site.account()
    result = site.run("backup", str(tmp_path / "copy.db"))
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{tmp_path / 'copy.db'}: ")


def test_existing_file_is_replaced_only_with_force(site: Site, tmp_path: Path) -> None:
    site.account()
    target = tmp_path / "copy.db"
    target.write_bytes(b"precious")
    result = site.run("backup", str(target))
    assert (result.exit_code, target.read_bytes()) == (1, b"precious")
    assert "--force" in result.stderr
    assert site.run("backup", "--force", str(target)).exit_code == 0
    assert ids_of(target) == []


@pytest.mark.parametrize("name", ["kurolproxy.db", "lock", "copy.db"])
def test_nothing_in_the_state_directory_is_written_over(site: Site, name: str) -> None:
    site.account()
    before = {each.name: each.read_bytes() for each in site.state_dir.iterdir()}
    result = site.run("backup", "--force", str(site.state_dir / name))
    assert result.exit_code == 1
    assert {each.name: each.read_bytes() for each in site.state_dir.iterdir()} == before


def test_without_a_database_there_is_no_backup(site: Site, tmp_path: Path) -> None:
    result = site.run("backup", str(tmp_path / "copy.db"))
    assert result.exit_code == 1
    assert "no gateway has started there yet" in result.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kurolproxy.toml"]


def test_damaged_database_gives_no_backup(site: Site, tmp_path: Path) -> None:
    site.account()
    path = site.state_dir / "kurolproxy.db"
    data = path.read_bytes()
    path.write_bytes(data[:4_096] + b"x" * (len(data) - 4_096))
    result = site.run("backup", str(tmp_path / "copy.db"))
    assert result.exit_code == 1
    assert "no backup was made" in result.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kurolproxy.toml", "state"]


def test_termination_is_raised_so_that_nothing_is_left() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ending_properly():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


# --- beside a gateway -------------------------------------------------------------------


async def test_everything_answered_before_is_in_the_copy(
    living: Site, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    key = (await asyncio.to_thread(living.key))["key"]
    answered: list[str] = []
    over = asyncio.Event()
    async with living.serving() as served:

        async def client() -> None:
            while not over.is_set():
                response = await call(http, served.base_url, key)
                assert response.status == 200
                answered.append(response.headers["x-request-id"])

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(client())
            for number in range(3):
                before = list(answered)
                target = tmp_path / f"copy-{number}.db"
                assert (await told(living, "backup", str(target)))["missing_rows"] == 0
                assert set(before) <= set(ids_of(target))
            over.set()
        # The import went on afterwards.
        said = await told(living, "ledger", "verify")
    assert (said["rows"], said["pending_rows"]) == (len(answered), 0)


async def test_gateway_imports_what_it_has_and_pauses(site: Site, tmp_path: Path) -> None:
    await asyncio.to_thread(site.account)
    ledger = Ledger()
    async with control_of(site.state_dir, ledger):
        assert (await told(site, "backup", str(tmp_path / "copy.db")))["missing_rows"] == 0
        await asyncio.wait_for(ledger.resumed.wait(), LIMIT_S)
    assert ledger.log == ["flush", "pause", "resume"]


async def test_rows_that_the_gateway_cannot_import_are_told(site: Site, tmp_path: Path) -> None:
    await asyncio.to_thread(site.account)
    ledger = Ledger()
    ledger.whole = False
    async with control_of(site.state_dir, ledger):
        code, out, err = await site.verb("backup", str(tmp_path / "copy.db"), "--json")
    assert (code, json.loads(out)["missing_rows"]) == (1, 7)
    assert "7 rows of usage are not in the copy" in err
    assert ids_of(tmp_path / "copy.db") == []


@pytest.mark.parametrize(("every_s", "heard"), [(0.0, ["status"] * 3), (10.0, [])])
async def test_gateway_hears_now_and_then_from_a_copy_that_takes_long(
    site: Site, monkeypatch: pytest.MonkeyPatch, every_s: float, heard: list[str]
) -> None:
    # It takes a silent connection for one that is gone.
    assert backup._SIGN_OF_LIFE_S < control._IDLE_S / 2
    monkeypatch.setattr(backup, "_SIGN_OF_LIFE_S", every_s)
    await asyncio.to_thread(site.account)
    ledger = Ledger()
    shown: list[int] = []

    def copy() -> None:
        client = ControlClient.connect(site.state_dir)
        assert client is not None
        with client:
            client.call("status", {})
            progress = backup._living(client, lambda copied, total: shown.append(copied))
            for copied in range(3):
                progress(copied, 3)

    async with control_of(site.state_dir, ledger):
        await asyncio.to_thread(copy)
    assert (ledger.log, shown) == (["status", *heard], [0, 1, 2])


async def test_import_pauses_for_a_backup_and_goes_on_when_it_dies(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key = (await asyncio.to_thread(living.key))["key"]
    async with living.serving() as served:
        client = await asyncio.to_thread(ControlClient.connect, living.state_dir)
        assert client is not None
        assert await asyncio.to_thread(client.call, "ledger.pause", {}) == {"missing": 0}
        await call(http, served.base_url, key)
        # A flush does not go past the pause either.
        said = await told(living, "ledger", "verify")
        assert (said["rows"], said["pending_rows"], said["differences"]) == (0, 1, [])
        await asyncio.to_thread(client.close)
        said = await told(living, "ledger", "verify")
        assert (said["rows"], said["pending_rows"]) == (1, 0)


async def test_restored_backup_serves_its_keys_and_knows_their_usage(
    living: Site, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    key = (await asyncio.to_thread(living.key))["key"]
    target = tmp_path / "copy.db"
    async with living.serving() as served:
        await call(http, served.base_url, key)
        await told(living, "backup", str(target))
        later = str((await told(living, "keys", "create", "--email", "ann@example.org"))["key"])
        await call(http, served.base_url, later)
        await served.kill()
    # As docs/cli.md says.
    for name in ("kurolproxy.db-wal", "kurolproxy.db-shm"):
        (living.state_dir / name).unlink(missing_ok=True)
    shutil.rmtree(living.state_dir / "journal")
    shutil.copy(target, living.state_dir / "kurolproxy.db")
    async with living.serving() as served:
        assert (await call(http, served.base_url, key)).status == 200
        assert (await call(http, served.base_url, later)).status == 401
        [day] = await told(living, "usage")
        assert day["requests"] == 2
    assert (await told(living, "ledger", "verify"))["differences"] == []
