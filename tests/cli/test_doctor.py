"""``doctor``: every check fails when it should, and says what to do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kurolproxy import __version__
from kurolproxy.cli import checks_ledger
from kurolproxy.cli.checks import Finding, Machine, Space, open_files_of, space_of
from kurolproxy.cli.doctor import CHECKS, Named, examine, patient_of
from kurolproxy.storage.lock import StateDirectory
from kurolproxy.storage.rows import encode_row, line
from kurolproxy.storage.usage import insert_rows
from tests.cli.sites import Site, call, end, told
from tests.fakes.answers import refusing_url
from tests.storage.usage_rows import row

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()
GIB = 1024**3


@dataclass(slots=True)
class Circumstances:
    """What a test may turn before the doctor comes."""

    site: Site
    machine: Machine
    status: dict[str, Any] | None = None
    call: bool = False

    @property
    def state_dir(self) -> Path:
        return self.site.state_dir

    def set(self, **parts: Callable[..., Any]) -> None:
        self.machine = replace(self.machine, **parts)  # type: ignore[arg-type]

    def space(self, **parts: Any) -> None:
        plenty = Space(bytes=100 * GIB, inodes=None, read_only=False)
        self.set(space=lambda path: plenty._replace(**parts))

    def sql(self, sql: str) -> None:
        with closing(sqlite3.connect(self.state_dir / "kurolproxy.db")) as db:
            db.execute(sql)
            db.commit()

    def insert(self, day: str, started_at: float) -> None:
        path = self.state_dir / "kurolproxy.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("BEGIN")
            new = row(f"{day}-{started_at}", day=date.fromisoformat(day), started_at=started_at)
            insert_rows(db, [new])
            db.execute("COMMIT")

    def leave(self, name: str, age_s: float = 0.0) -> None:
        """Leave a file with one row in the journal."""
        folder = self.state_dir / "journal"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / name
        path.write_bytes(line(encode_row(row("r1")), 0))
        path.chmod(0o600)
        os.utime(path, (NOON - age_s, NOON - age_s))

    def runs(self, **parts: Any) -> None:
        """Have a gateway say that it runs."""
        self.status = {
            "pid": os.getpid(),
            "version": __version__,
            "ledger_pending_rows": 0,
            "ledger_oldest_pending_s": 0.0,
            "ledger_writable": True,
            "day": "2026-03-02",
            "ignored_days": [],
            **parts,
        }

    def examine(self) -> list[Named]:
        patient = replace(patient_of(self.site.config, self.machine), call=self.call)
        if self.status is not None:
            patient = replace(patient, status=self.status)
        return list(examine(patient))


@pytest.fixture
def here(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Circumstances]:
    """Return an installation in which all is well, at noon of 2026-03-02.

    Its upstream takes connections, and says nothing.
    """
    monkeypatch.setenv("VENDOR_KEY", "vendor-key")
    listening = socket.create_server(("127.0.0.1", 0))
    site.write(vendor_url=f"http://127.0.0.1:{listening.getsockname()[1]}")
    site.account()
    circumstances = Circumstances(site, Machine(now=lambda: NOON, open_files=lambda pid: 1_048_576))
    circumstances.space()
    circumstances.insert("2026-03-02", NOON - 60)
    yield circumstances
    listening.close()


def test_all_is_well(here: Circumstances) -> None:
    found = here.examine()
    assert [each for each in found if each.finding.level != "ok"] == []
    # Only a gateway that runs writes, and nothing is called unless it is wanted.
    assert {each.check for each in found} == CHECKS.keys() - {"writing", "calls"}
    here.runs()
    assert {each.check for each in here.examine()} == CHECKS.keys() - {"calls"}
    assert {each.finding.level for each in here.examine()} == {"ok"}


def without_credential(here: Circumstances) -> None:
    os.environ.pop("VENDOR_KEY")
    here.call = True


def rewrite(here: Circumstances, old: str, new: str) -> None:
    text = here.site.config.read_text()
    assert old in text
    here.site.config.write_text(text.replace(old, new))


def long_path(here: Circumstances) -> None:
    rewrite(here, 'state_dir = "state"', f'state_dir = "/{"x" * 100}"')


def unreadable_limit(here: Circumstances) -> None:
    def space(path: Path) -> Space:
        raise OSError(5, "Input/output error")

    here.set(space=space)


def damaged(here: Circumstances) -> None:
    path = here.state_dir / "kurolproxy.db"
    data = path.read_bytes()
    path.write_bytes(data[:4_096] + b"x" * (len(data) - 4_096))


def grown(here: Circumstances) -> None:
    # Sparse, and of a database that nobody opens meanwhile.
    wal = here.state_dir / "kurolproxy.db-wal"
    wal.touch(0o600)
    os.truncate(wal, 64 * 1024 * 1024 + 1)


def lost(here: Circumstances) -> None:
    here.leave(f"{1:020}.log")
    (here.state_dir / "kurolproxy.db").unlink()


def foreign_owner(here: Circumstances) -> None:
    os.chown(here.state_dir / "kurolproxy.db", 12_345, 12_345)


def rows_waiting(here: Circumstances) -> None:
    here.leave(f"{1:020}.log", age_s=601)
    here.runs()


LOG = f"{1:020}.log"
KEPT = f"{1:020}.damaged"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

# name, what is done, check, level, what is found, the remedy
CASES: list[tuple[str, Callable[[Circumstances], object], str, str, str, str]] = [
    (
        "unknown key",
        lambda here: rewrite(here, "[metrics]", "[metrics]\nport = 1"),
        "configuration",
        "error",
        'kurolproxy.toml:7:1: unknown key "port"',
        "kurolproxy check",
    ),
    (
        "path of the state directory",
        long_path,
        "configuration",
        "error",
        "too long",
        "Correct the file",
    ),
    (
        "pattern without a model",
        lambda here: rewrite(here, 'models = ["demo-echo"]', 'models = ["demo-echo", "x"]'),
        "configuration",
        "warning",
        "matches no model",
        "Correct the file",
    ),
    (
        "credential that only the service has",
        lambda here: os.environ.pop("VENDOR_KEY"),
        "configuration",
        "warning",
        "VENDOR_KEY is not set",
        "Nothing, when the service is handed it",
    ),
    (
        "plan without a model",
        lambda here: rewrite(here, 'models = ["demo-echo"]', 'models = ["demo-x"]'),
        "plans",
        "warning",
        "the plan 'solo' has no active model",
        "Correct `models` of the plan 'solo'",
    ),
    (
        "no plan",
        lambda here: here.site.write(here.site.config.read_text().partition("[[plans]]")[0]),
        "plans",
        "warning",
        "there is no plan",
        "[[plans]]",
    ),
    (
        "few files",
        lambda here: here.set(open_files=lambda pid: 1_024),
        "limits",
        "warning",
        "only 1,024 files",
        "LimitNOFILE",
    ),
    (
        "little space",
        lambda here: here.space(bytes=GIB - 1),
        "disk",
        "warning",
        "has 1,023 MiB left",
        "Free space",
    ),
    (
        "no space",
        lambda here: here.space(bytes=64 * 1024**2 - 1),
        "disk",
        "error",
        "has 63 MiB left",
        "Free space now",
    ),
    (
        "few inodes",
        lambda here: here.space(inodes=9_999),
        "disk",
        "warning",
        "9,999 more files fit",
        "Delete files",
    ),
    (
        "no inodes",
        lambda here: here.space(inodes=99),
        "disk",
        "error",
        "99 more files fit",
        "Delete files",
    ),
    (
        "read-only",
        lambda here: here.space(read_only=True),
        "disk",
        "error",
        "is read-only",
        "mount it to be written",
    ),
    (
        "failing disk",
        unreadable_limit,
        "disk",
        "error",
        "Input/output error",
        "Look at the disk",
    ),
    (
        "open directory",
        lambda here: here.state_dir.chmod(0o755),
        "state directory",
        "warning",
        "has the mode 0755",
        "chmod 0700",
    ),
    (
        "readable database",
        lambda here: (here.state_dir / "kurolproxy.db").chmod(0o640),
        "state directory",
        "warning",
        "kurolproxy.db has the mode 0640",
        "chmod 0600",
    ),
    (
        "stale socket",
        lambda here: (here.state_dir / "control.sock").touch(),
        "gateway",
        "warning",
        "control.sock is left of one that did not end properly",
        "Start the gateway",
    ),
    (
        "older gateway",
        lambda here: here.runs(version="0.0.1"),
        "gateway",
        "warning",
        f"runs version 0.0.1, {__version__} is installed",
        "Restart",
    ),
    ("damaged database", damaged, "ledger", "error", "damaged", "restore a backup"),
    (
        "another program's database",
        lambda here: here.sql("PRAGMA application_id = 7"),
        "ledger",
        "error",
        "not a database of Kurol Proxy",
        "state_dir",
    ),
    (
        "newer version's database",
        lambda here: here.sql("PRAGMA user_version = 9999"),
        "ledger",
        "error",
        "version 9999",
        "Install the newer version",
    ),
    (
        "older version's database",
        lambda here: here.sql("PRAGMA user_version = 1"),
        "ledger",
        "error",
        "start the gateway once",
        "Look at the file",
    ),
    ("lost database", lost, "ledger", "error", "there is no database", "Restore a backup"),
    (
        "ledger that cannot be written",
        lambda here: here.runs(ledger_writable=False, ledger_pending_rows=1_234),
        "writing",
        "error",
        "cannot write its ledger: 1,234 rows wait",
        "goes on by itself",
    ),
    (
        "locked ledger",
        lambda here: here.runs(ledger_oldest_pending_s=61.0, ledger_pending_rows=9),
        "writing",
        "warning",
        "9 rows wait to be imported, the oldest for 61 s",
        "fuser",
    ),
    (
        "rows of a killed gateway",
        lambda here: here.leave(LOG, age_s=601),
        "journal",
        "warning",
        f"a gateway that was killed waits in {LOG}",
        "Start the gateway",
    ),
    (
        "rows that the gateway does not import",
        rows_waiting,
        "journal",
        "error",
        f"{LOG} of the journal is not imported for more than 10 min",
        "log says why",
    ),
    (
        "damaged file of the journal",
        lambda here: here.leave(KEPT),
        "journal",
        "warning",
        KEPT,
        "ledger verify",
    ),
    (
        "clock of the last century",
        lambda here: here.set(now=lambda: 0.0),
        "clock",
        "error",
        "1970-01-01",
        "Set it",
    ),
    (
        "day to come in the ledger",
        lambda here: here.insert("2099-01-01", NOON),
        "clock",
        "error",
        "ignored: 2099-01-01",
        "Set the clock when 2026-03-02 is wrong",
    ),
    (
        "day to come in the memory of the gateway",
        lambda here: here.runs(ignored_days=["2099-01-01"]),
        "clock",
        "error",
        "ignored: 2099-01-01",
        "restart",
    ),
    (
        "day that is held",
        lambda here: here.runs(day="2026-03-03"),
        "clock",
        "warning",
        "the gateway counts 2026-03-03, the clock says 2026-03-02",
        "until it is over",
    ),
    (
        "clock that was set back",
        lambda here: here.insert("2026-03-02", NOON + 3_600),
        "clock",
        "warning",
        "began 3,600 s after this moment",
        "NTP",
    ),
    (
        "account on a plan that is gone",
        lambda here: here.sql("UPDATE accounts SET plan = 'gold'"),
        "accounts",
        "error",
        "1 active account is on the plan 'gold', which the file has not",
        "users set-plan EMAIL PLAN",
    ),
    (
        "upstream that does not run",
        lambda here: here.site.write(vendor_url=refusing_url()),
        "upstreams",
        "error",
        "demo: The upstream could not be reached.",
        "whether the server runs",
    ),
    (
        "call without the credential",
        without_credential,
        "calls",
        "warning",
        "nothing is called",
        "that the service is given",
    ),
]


@pytest.mark.parametrize(
    ("change", "check", "level", "found", "remedy"),
    [each[1:] for each in CASES],
    ids=[each[0] for each in CASES],
)
def test_what_is_wrong_is_found_with_its_remedy(
    here: Circumstances,
    change: Callable[[Circumstances], object],
    check: str,
    level: str,
    found: str,
    remedy: str,
) -> None:
    change(here)
    ill = [each for each in here.examine() if each.finding.level != "ok"]
    of_check = [each.finding for each in ill if each.check == check]
    assert len(of_check) == 1, ill
    assert of_check[0].level == level
    assert found in of_check[0].found
    assert remedy in of_check[0].remedy


def test_each_check_has_a_case_in_which_it_fails() -> None:
    assert {each[2] for each in CASES} == set(CHECKS)


@as_root
def test_file_of_another_user_is_an_error(here: Circumstances) -> None:
    foreign_owner(here)
    [found] = [each.finding for each in here.examine() if each.check == "state directory"]
    assert found.level == "error"
    assert "belongs to user 12345" in found.found
    assert found.remedy.startswith("`chown 0 ")


def test_long_write_ahead_log_is_told(here: Circumstances) -> None:
    grown(here)
    patient = patient_of(here.site.config, here.machine)
    path = here.state_dir / "kurolproxy.db"
    [found] = checks_ledger._write_ahead_log(patient, path)
    assert found.level == "warning"
    assert "67,108,865 bytes" in found.found
    assert "Start the gateway" in found.remedy
    here.runs()
    [found] = checks_ledger._write_ahead_log(replace(patient, status=here.status), path)
    assert "fuser" in found.remedy


def test_disk_that_takes_nothing_is_an_error(here: Circumstances) -> None:
    # Not even root can write in a folder that is none.
    here.state_dir.rename(here.state_dir.with_name("gone"))
    here.state_dir.touch()
    [finding] = CHECKS["disk"](patient_of(here.site.config, here.machine))
    assert finding.level == "error"
    assert "nothing can be written" in finding.found


def test_held_directory_names_the_process(here: Circumstances) -> None:
    with StateDirectory(here.state_dir).hold():
        [found] = [each.finding for each in here.examine() if each.check == "gateway"]
    assert found.level == "error"
    assert f"process {os.getpid()} holds" in found.found


def test_accounts_that_are_disabled_need_no_plan(here: Circumstances) -> None:
    here.sql("UPDATE accounts SET plan = 'gold', active = 0")
    assert {each.finding.level for each in here.examine()} == {"ok"}


def test_usage_of_tomorrow_is_no_error(here: Circumstances) -> None:
    here.insert("2026-03-03", NOON)
    assert {each.finding.level for each in here.examine()} == {"ok"}


def test_before_the_first_start_all_is_well(here: Circumstances, tmp_path: Path) -> None:
    rewrite(here, 'state_dir = "state"', 'state_dir = "new/state"')
    assert {each.finding.level for each in here.examine()} == {"ok"}
    assert not (tmp_path / "new").exists()


def test_state_directory_that_cannot_be_looked_into_is_an_error(here: Circumstances) -> None:
    here.site.state_dir.rename(here.site.folder / "elsewhere")
    here.site.state_dir.touch()
    found = {each.check: each.finding for each in here.examine()}
    ledger = found["ledger"]
    assert ledger.level == "error"
    assert ledger.found.endswith("Not a directory")
    assert ledger.remedy == "Run this as the owner of the state directory or as root."


def test_machine_is_what_it_is(tmp_path: Path) -> None:
    left = space_of(tmp_path)
    assert left.bytes > 0
    assert not left.read_only
    assert open_files_of(None) == open_files_of(os.getpid()) == open_files_of(2**30)


# --- the verb -----------------------------------------------------------------------------


def said(output: str) -> Mapping[str, list[Finding]]:
    """Return what ``--json`` printed, by check."""
    found: dict[str, list[Finding]] = {}
    for each in json.loads(output)["checks"]:
        found.setdefault(each.pop("check"), []).append(Finding(**each))
    return found


def test_error_exits_with_1_and_warnings_do_not(here: Circumstances) -> None:
    site = here.site
    result = site.run("doctor", env={"VENDOR_KEY": "vendor-key"})
    assert result.exit_code == 0, result.output
    site.state_dir.chmod(0o755)
    result = site.run("doctor", env={"VENDOR_KEY": "vendor-key"})
    assert result.exit_code == 0
    assert "warning  state directory" in result.stdout
    assert f"-> `chmod 0700 {site.state_dir}`" in result.stdout
    with closing(sqlite3.connect(site.state_dir / "kurolproxy.db")) as db:
        db.execute("UPDATE accounts SET plan = 'gold'")
        db.commit()
    result = site.run("doctor", env={"VENDOR_KEY": "vendor-key"})
    assert result.exit_code == 1
    assert result.stderr == "kurolproxy: 1 error\n"


def test_json_is_one_object(site: Site) -> None:
    site.write("[server]\nstat_dir = 'x'\n")
    result = site.run("doctor", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False
    assert [(name, each.level) for name, [each] in said(result.stdout).items()] == [
        ("configuration", "error")
    ]


def test_doctor_changes_nothing(site: Site) -> None:
    site.account()
    before = {each.name: each.stat().st_mtime_ns for each in site.state_dir.iterdir()}
    site.run("doctor")
    assert {each.name: each.stat().st_mtime_ns for each in site.state_dir.iterdir()} == before


async def test_gateway_that_runs_and_one_that_was_killed(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key = (await asyncio.to_thread(living.key))["key"]
    async with living.serving() as served:
        await call(http, served.base_url, key)
        found = said(json.dumps(await told(living, "doctor")))
        assert found["gateway"] == [
            Finding("ok", f"process {served.process.pid} runs version {__version__}")
        ]
        assert found["writing"] == [Finding("ok", "the gateway writes its ledger")]
        assert {each.level for name in found for each in found[name]} <= {"ok", "warning"}
        await served.kill()
    found = said(json.dumps(await told(living, "doctor")))
    assert "left of one that did not end properly" in found["gateway"][0].found
    assert "writing" not in found


async def test_gateway_that_hangs_is_an_error(living: Site) -> None:
    async with living.serving() as served:
        (living.state_dir / "control.sock").unlink()
        code, out, _ = await living.verb("doctor", "--json")
        assert code == 1
        [found] = said(out)["gateway"]
        assert f"process {served.process.pid} holds" in found.found
        assert await end(served.process, signal.SIGTERM) == 0
