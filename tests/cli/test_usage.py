"""``usage``: the report on standard output, what it lacks on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from kurolproxy.server.control import SOCKET_NAME
from kurolproxy.storage.database import Database
from kurolproxy.storage.retention import prune
from kurolproxy.storage.rows import UsageRow, encode_row, line
from kurolproxy.storage.usage import COUNTERS
from tests.cli.sites import Site
from tests.storage.usage_rows import MONDAY, TUESDAY, row, write

ANN = "ann@example.org"
TEN = 1_772_445_600.0  # 2026-03-02 10:00 UTC


def _used(number: int, day: date, model: str, key: str, charged: int) -> UsageRow:
    return row(
        f"req_{number}",
        day=day,
        started_at=TEN + 86_400 * (day - MONDAY).days,
        key_id=key,
        model=model,
        charged=charged,
    )


async def _with_database(site: Site, work: Callable[[Database], Any]) -> None:
    database = await Database.open(site.state_dir / "kurolproxy.db")
    await work(database)
    await database.close()


@pytest.fixture
def used(site: Site) -> Site:
    """Return an installation with two days of usage."""
    site.account()
    key = site.key("--label", "=HYPERLINK(1)")["id"]
    rows = [
        _used(1, MONDAY, "demo-echo", key, 100),
        _used(2, MONDAY, "demo-slow", key, 10),
        _used(3, TUESDAY, "demo-echo", key, 1_000),
    ]
    asyncio.run(_with_database(site, lambda database: write(database, rows)))
    return site


# --- the report -------------------------------------------------------------------------


def test_usage_is_reported_by_day(used: Site) -> None:
    lines = used.json("usage")
    assert [(each["day"], each["requests"], each["charged"]) for each in lines] == [
        ("2026-03-02", 2, 110),
        ("2026-03-03", 1, 1_000),
    ]
    result = used.run("usage")
    assert result.stdout.splitlines()[0].split()[:2] == ["DAY", "REQUESTS"]
    assert result.stderr == ""


def test_what_a_killed_gateway_left_in_the_journal_is_reported_once(used: Site) -> None:
    left = _used(4, TUESDAY, "demo-echo", "key", 5)
    folder = used.state_dir / "journal"
    folder.mkdir()
    again = _used(3, TUESDAY, "demo-echo", "key", 1_000)
    lines = [line(encode_row(each), number) for number, each in enumerate((left, again))]
    (folder / f"{1:020d}.log").write_bytes(b"".join(lines))
    for _ in range(2):
        assert [each["charged"] for each in used.json("usage")] == [110, 1_005]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("by", "names", "lines"),
    [
        ("model", ("model", "charged"), [("demo-echo", 1_100), ("demo-slow", 10)]),
        ("account", ("account", "charged"), [(ANN, 1_110)]),
        ("key", ("label", "charged"), [("=HYPERLINK(1)", 1_110)]),
        (
            "day,model",
            ("day", "model", "charged"),
            [
                ("2026-03-02", "demo-echo", 100),
                ("2026-03-02", "demo-slow", 10),
                ("2026-03-03", "demo-echo", 1_000),
            ],
        ),
        ("hour", ("hour", "charged"), [("2026-03-02T10:00Z", 110), ("2026-03-03T10:00Z", 1_000)]),
        (
            "key, hour,key",
            ("label", "hour", "charged"),
            [
                ("=HYPERLINK(1)", "2026-03-02T10:00Z", 110),
                ("=HYPERLINK(1)", "2026-03-03T10:00Z", 1_000),
            ],
        ),
    ],
)
def test_usage_by(used: Site, by: str, names: tuple[str, ...], lines: list[Any]) -> None:
    report = used.json("usage", "--by", by)
    assert [tuple(each[name] for name in names) for each in report] == lines
    assert used.run("usage", "--by", by).exit_code == 0


@pytest.mark.parametrize(
    ("days", "charged"),
    [
        (("--since", "2026-03-03"), [1_000]),
        (("--until", "2026-03-02"), [110]),
        (("--since", "2026-03-02", "--until", "2026-03-02"), [110]),
        (("--since", "2026-03-02", "--until", "2026-03-03"), [110, 1_000]),
        (("--since", "2026-03-04"), []),
        (("--until", "2026-03-01"), []),
    ],
)
def test_first_and_last_day_are_in_the_report(
    used: Site, days: tuple[str, ...], charged: list[int]
) -> None:
    assert [each["charged"] for each in used.json("usage", *days)] == charged


def test_usage_as_csv_has_a_head_and_no_formula(used: Site) -> None:
    result = used.run("usage", "--by", "key", "--csv")
    head, line = csv.reader(result.stdout.splitlines())
    assert head[:4] == ["key", "label", "requests", "prompt"]
    assert line[1] == "'=HYPERLINK(1)"


def test_usage_of_an_empty_ledger_is_an_empty_list(site: Site) -> None:
    assert site.json("usage") == []
    result = site.run("usage")
    assert (result.exit_code, result.stdout) == (0, "")


REFUSED = [
    ("--by", "day,week"),
    ("--by", ""),
    ("--since", "yesterday"),
    ("--until", "2026-02-30"),
    ("--since", "2026-03-03", "--until", "2026-03-02"),
    ("--csv", "--json"),
]


@pytest.mark.parametrize("args", REFUSED, ids=" ".join)
def test_refused(site: Site, args: tuple[str, ...]) -> None:
    result = site.run("usage", *args)
    assert (result.exit_code, result.stdout) == (2, "")


# --- what it lacks ----------------------------------------------------------------------


@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)])
def test_hours_that_are_gone_are_told_beside_the_report(used: Site, form: tuple[str, ...]) -> None:
    asyncio.run(_with_database(used, lambda database: prune(database, TUESDAY)))
    whole = used.run("usage", "--by", "day,key", *form)
    assert ("2026-03-02" in whole.stdout, whole.stderr) == (True, "")
    result = used.run("usage", "--by", "hour,key", *form)
    assert ("2026-03-02T" in result.stdout, "2026-03-03T" in result.stdout) == (False, True)
    assert "known from 2026-03-03 on" in result.stderr


@contextlib.contextmanager
def answering(site: Site, *answers: bytes) -> Iterator[list[Any]]:
    """Be a gateway that answers one request, in some pieces; yield what it was asked."""
    site.state_dir.mkdir(exist_ok=True)
    path = site.state_dir / SOCKET_NAME
    path.unlink(missing_ok=True)
    asked: list[Any] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as requests:
                asked.append(json.loads(requests.readline()))
                for piece in answers:
                    connection.sendall(piece)

        thread = threading.Thread(target=answer)
        thread.start()
        yield asked
        thread.join()


def _told(**lacking: Any) -> bytes:
    """Return the answer with one line, as the gateway sends it."""
    line = {"day": "2026-03-02", **dict.fromkeys(COUNTERS, 7)}
    whole = {"pending": 0, "ends_with": None, "left_out": 0, "detail_from": None}
    result = {"rows": [line], **whole, **lacking}
    return json.dumps({"ok": True, "result": result}).encode() + b"\n"


NOTES = [
    ({"pending": 1_234}, "1,234 rows are not written to the ledger yet."),
    ({"ends_with": "2026-03-02"}, "The report ends with 2026-03-02"),
    ({"left_out": 56_789}, "56,789 more lines"),
    ({"detail_from": "2026-01-01"}, "known from 2026-01-01 on"),
]


@pytest.mark.parametrize(("lacking", "note"), NOTES, ids=[next(iter(each)) for each, _ in NOTES])
@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)])
def test_what_the_report_lacks_stands_on_standard_error_alone(
    site: Site, lacking: dict[str, Any], note: str, form: tuple[str, ...]
) -> None:
    with answering(site, _told(**lacking)):
        result = site.run("usage", *form)
    assert result.exit_code == 0
    assert note in result.stderr
    assert len(result.stderr.splitlines()) == 1
    with answering(site, _told()):
        assert site.run("usage", *form).stdout == result.stdout


def test_white_space_before_the_answer_keeps_the_command_waiting(site: Site) -> None:
    with answering(site, b" ", b" ", b" " + _told()) as asked:
        lines = site.json("usage", "--by", "key,model", "--since", "2026-03-01")
    assert [line["charged"] for line in lines] == [7]
    args = {"by": ["key", "model"], "since": "2026-03-01", "until": None}
    assert asked == [{"verb": "usage.report", "args": args}]


@pytest.mark.parametrize("cut", [b"", b"  ", b'{"ok": true, "result": {"rows": [{"day": '])
def test_answer_that_was_cut_is_no_report(site: Site, cut: bytes) -> None:
    with answering(site, cut):
        result = site.run("usage", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "stopped before it answered" in result.stderr


def test_large_report_is_shown_whole(site: Site) -> None:
    site.account()
    rows = [
        row(f"r{number}", key_id=f"key_{number}", day=MONDAY + timedelta(days=number % 9))
        for number in range(3_000)
    ]
    asyncio.run(_with_database(site, lambda database: write(database, rows)))
    assert len(site.json("usage", "--by", "key")) == 3_000
    assert len(site.run("usage", "--by", "day,key", "--csv").stdout.splitlines()) == 3_001
