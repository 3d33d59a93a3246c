"""The check of the ledger: each thing that was changed is found, with its request ids."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.storage.errors import DatabaseForeign, DatabaseMissing, StorageError
from kurolproxy.storage.findings import MOST_IDS, MOST_LISTED, Difference, Findings
from kurolproxy.storage.migrate import prepare
from kurolproxy.storage.reading import reading
from kurolproxy.storage.rows import UsageRow, cleaned, encode_row, end_line, line
from kurolproxy.storage.usage import LARGEST_SUM, insert_rows
from kurolproxy.storage.verify import LedgerCheck
from kurolproxy.storage.verify_journal import JournalCheck
from tests.storage.usage_rows import MONDAY, NOON, TUESDAY, row

ROWS = (
    row("mon-1", ttft_ms=None),
    row("mon-2", estimated=True),
    row("mon-3", model="n", started_at=NOON + 3_600),
    row("mon-4", account_id=2, key_id="key_b"),
    row("tue-1", day=TUESDAY, started_at=NOON + 86_400),
)


@dataclass(slots=True)
class Ledger:
    """The files of a ledger, to be tampered with."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "kurolproxy.db"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def insert(self, *rows: UsageRow) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            insert_rows(db, list(map(cleaned, rows)))
            db.execute("COMMIT")

    def sql(self, sql: str, *values: Any) -> int:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            return db.execute(sql, values).rowcount

    def file(self, number: int, rows: Sequence[UsageRow], *, closed: bool = True) -> Path:
        """Write a file of the journal."""
        lines = [line(encode_row(each), index) for index, each in enumerate(rows)]
        path = self.journal / f"{number:020}.log"
        path.write_bytes(b"".join(lines) + (end_line(len(lines)) if closed else b""))
        return path

    def check(
        self, *, since: date | None = None, running: bool = False, slice_rows: int = 50_000
    ) -> Findings:
        found = Findings()
        with reading(self.path) as db:
            LedgerCheck(db, found, slice_rows=slice_rows).run(since)
            JournalCheck(self.journal, db, found, running=running).run()
        return found


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return a ledger that agrees with itself."""
    ledger = Ledger(tmp_path)
    prepare(ledger.path, busy_timeout_s=1.0)
    ledger.journal.mkdir()
    ledger.sql(
        "INSERT INTO accounts VALUES (1, 'ann@example.org', 'a', '', 'user', 'team', 1, NULL, 0)"
    )
    ledger.insert(*ROWS)
    return ledger


def brief(differences: Sequence[Difference]) -> list[tuple[Any, ...]]:
    """Return what the tables compare: kind, where, figures, ids."""
    return [
        (
            each.kind,
            each.hour or each.file or each.day,
            each.account_id,
            {name: tuple(pair) for name, pair in each.figures.items()},
            list(each.request_ids),
        )
        for each in differences
    ]


def test_ledger_that_agrees_with_itself_has_no_difference(ledger: Ledger) -> None:
    ledger.file(1, ROWS[:2])
    ledger.file(2, ROWS[2:], closed=False)
    found = ledger.check()
    assert found.differences == []
    assert (found.rows, found.days, found.accounts) == (5, 2, {1, 2})
    assert (found.journal_rows, found.pending, found.without_checksum) == (5, 0, 0)


# --- the database -----------------------------------------------------------------------

NOON_HOUR = "2026-03-02T12:00Z"
ONE_HOUR = "2026-03-02T13:00Z"
ONE_ROW = {
    "prompt": 100,
    "completion": 20,
    "cache_read": 10,
    "cache_write": 5,
    "reasoning": 8,
    "charged": 120,
}


def missing(**more: int) -> dict[str, tuple[int, int]]:
    """Return the figures of a line that is not there."""
    return {name: (0, value) for name, value in {**more, **ONE_ROW}.items()}


def superfluous(**more: int) -> dict[str, tuple[int, int]]:
    """Return the figures of one row that is not there."""
    return {name: (value, 0) for name, value in {**more, **ONE_ROW}.items()}


TAMPERED: list[tuple[str, str, list[tuple[Any, ...]]]] = [
    (
        "tokens of a row",
        "UPDATE usage SET prompt = 50 WHERE request_id = 'mon-1'",
        [
            ("row", "2026-03-02", 1, {}, ["mon-1"]),
            ("daily", "2026-03-02", 1, {"prompt": (200, 150)}, ["mon-1"]),
            ("hourly", NOON_HOUR, None, {"prompt": (300, 250)}, ["mon-1"]),
        ],
    ),
    (
        "a figure that nothing adds up",
        "UPDATE usage SET duration_ms = 1 WHERE request_id = 'mon-4'",
        [("row", "2026-03-02", 2, {}, ["mon-4"])],
    ),
    (
        "text instead of a figure",
        "UPDATE usage SET charged = 'much' WHERE request_id = 'mon-4'",
        [
            ("row", "2026-03-02", 2, {}, ["mon-4"]),
            ("daily", "2026-03-02", 2, {"charged": (120, 0)}, ["mon-4"]),
            ("hourly", NOON_HOUR, None, {"charged": (360, 240)}, ["mon-4"]),
        ],
    ),
    (
        "a flag that is neither 0 nor 1",
        "UPDATE usage SET streamed = 2 WHERE request_id = 'mon-4'",
        [("row", "2026-03-02", 2, {}, ["mon-4"])],
    ),
    (
        "bytes that are no text",
        "UPDATE usage SET upstream = CAST(x'ff' AS TEXT) WHERE request_id = 'mon-4'",
        [("row", "2026-03-02", 2, {}, ["mon-4"])],
    ),
    (
        "a moment that is none",
        "UPDATE usage SET started_at = 'noon' WHERE request_id = 'mon-3'",
        [
            ("row", "2026-03-02", 1, {}, ["mon-3"]),
            ("hourly", "'noon'", None, missing(requests=1), ["mon-3"]),
            ("hourly", ONE_HOUR, None, superfluous(requests=1), []),
        ],
    ),
    (
        "the account of a row",
        "UPDATE usage SET account_id = 3 WHERE request_id = 'mon-4'",
        [
            ("row", "2026-03-02", 3, {}, ["mon-4"]),
            ("daily", "2026-03-02", 2, superfluous(requests=1), []),
            ("daily", "2026-03-02", 3, missing(requests=1), ["mon-4"]),
        ],
    ),
    (
        "a row deleted",
        "DELETE FROM usage WHERE request_id = 'mon-1'",
        [
            (
                "daily",
                "2026-03-02",
                1,
                {name: (2 * value, value) for name, value in {"requests": 1, **ONE_ROW}.items()},
                ["mon-2"],
            ),
            (
                "hourly",
                NOON_HOUR,
                None,
                {
                    name: (3 * value, 2 * value)
                    for name, value in {"requests": 1, **ONE_ROW}.items()
                },
                ["mon-2", "mon-4"],
            ),
        ],
    ),
    (
        "a row by hand",
        "INSERT INTO usage SELECT 'forged', '2026-03-03', started_at + 86400, account_id, key_id,"
        " model, upstream, client_protocol, upstream_protocol, status, outcome, 1, 0, 0, 0, 0, 0,"
        " 0, 0, 0, NULL, NULL FROM usage WHERE request_id = 'mon-1'",
        [
            (
                "daily",
                "2026-03-03",
                1,
                {"requests": (1, 2), "prompt": (100, 101)},
                ["forged", "tue-1"],
            ),
            (
                "hourly",
                "2026-03-03T12:00Z",
                None,
                {"requests": (1, 2), "prompt": (100, 101)},
                ["forged", "tue-1"],
            ),
        ],
    ),
    (
        "a daily sum",
        "UPDATE usage_daily SET charged = charged - 7 WHERE day = '2026-03-03'",
        [("daily", "2026-03-03", 1, {"charged": (113, 120)}, ["tue-1"])],
    ),
    (
        "an hourly sum",
        "UPDATE usage_hourly SET completion = 0 WHERE day = '2026-03-03'",
        [("hourly", "2026-03-03T12:00Z", None, {"completion": (0, 20)}, ["tue-1"])],
    ),
    (
        "a daily line deleted",
        "DELETE FROM usage_daily WHERE account_id = 2",
        [("daily", "2026-03-02", 2, missing(requests=1), ["mon-4"])],
    ),
    (
        "an hourly line deleted",
        "DELETE FROM usage_hourly WHERE model = 'n'",
        [("hourly", ONE_HOUR, None, missing(requests=1), ["mon-3"])],
    ),
    (
        "a daily line of a day without rows",
        "INSERT INTO usage_daily SELECT '2026-03-09', account_id, key_id, model, requests, prompt,"
        " completion, cache_read, cache_write, reasoning, charged, estimated FROM usage_daily"
        " WHERE day = '2026-03-03'",
        [("daily", "2026-03-09", 1, superfluous(requests=1), [])],
    ),
]


@pytest.mark.parametrize("slice_rows", [1, 2, 50_000])
@pytest.mark.parametrize(
    ("sql", "expected"), [each[1:] for each in TAMPERED], ids=[each[0] for each in TAMPERED]
)
def test_change_of_the_database_is_found_with_its_requests(
    ledger: Ledger, sql: str, expected: list[tuple[Any, ...]], slice_rows: int
) -> None:
    assert ledger.sql(sql) == 1
    assert brief(ledger.check(slice_rows=slice_rows).differences) == expected


def test_difference_names_the_account_and_the_figures(ledger: Ledger) -> None:
    ledger.sql("UPDATE usage_daily SET prompt = 1 WHERE day = '2026-03-03'")
    [found] = ledger.check().differences
    assert found.account == "ann@example.org"
    assert found.text == (
        "2026-03-03, account 1, key key_a, model gpt-4o: the daily sums say otherwise than the"
        " rows: prompt 1, not 100"
    )


def test_days_before_the_first_one_are_left_out(ledger: Ledger) -> None:
    ledger.sql("UPDATE usage SET prompt = 50 WHERE request_id = 'mon-1'")
    found = ledger.check(since=TUESDAY)
    assert (found.differences, found.rows, found.days) == ([], 1, 1)


def test_rows_of_an_older_version_are_checked_by_their_sums_alone(ledger: Ledger) -> None:
    ledger.sql("UPDATE usage SET checksum = NULL")
    found = ledger.check()
    assert (found.differences, found.without_checksum) == ([], 5)


def test_sums_that_were_clamped_are_no_difference(ledger: Ledger) -> None:
    for table in ("usage_daily", "usage_hourly"):
        ledger.sql(f"UPDATE {table} SET prompt = {LARGEST_SUM} WHERE day = '2026-03-03'")
    ledger.insert(row("big", day=TUESDAY, started_at=NOON + 86_400))
    rows = f"SELECT min(sum(prompt), {LARGEST_SUM}) FROM usage_daily WHERE day = '2026-03-03'"
    with closing(sqlite3.connect(ledger.path)) as db:
        assert db.execute(rows).fetchone()[0] == LARGEST_SUM
    kinds = [(each.kind, each.figures) for each in ledger.check().differences]
    assert kinds == [
        ("daily", {"prompt": (LARGEST_SUM, 200)}),
        ("hourly", {"prompt": (LARGEST_SUM, 200)}),
    ]
    ledger.sql("INSERT INTO ledger_facts VALUES ('detail_from', '2026-03-04')")
    ledger.sql("UPDATE usage_hourly SET prompt = 5 WHERE day = '2026-03-03'")
    assert ledger.check().differences == []


def test_rows_that_add_up_to_more_than_a_sum_holds_are_no_difference(ledger: Ledger) -> None:
    # The checksum of such a row would be wrong: it stands for a million of them.
    ledger.sql(
        f"UPDATE usage SET prompt = {LARGEST_SUM + 5}, checksum = NULL WHERE request_id = 'tue-1'"
    )
    for table in ("usage_daily", "usage_hourly"):
        ledger.sql(f"UPDATE {table} SET prompt = {LARGEST_SUM} WHERE day = '2026-03-03'")
    assert ledger.check().differences == []


def test_day_whose_rows_were_let_go_has_its_sums_compared(ledger: Ledger) -> None:
    ledger.sql("INSERT INTO ledger_facts VALUES ('detail_from', '2026-03-03')")
    ledger.sql("DELETE FROM usage WHERE request_id IN ('mon-1', 'mon-4')")
    assert ledger.check().differences == []
    ledger.sql("UPDATE usage_hourly SET charged = 1 WHERE model = 'n'")
    [found] = ledger.check().differences
    assert (found.kind, found.day, found.model) == ("sums", "2026-03-02", "n")
    assert found.figures == {"charged": (120, 1)}


def test_account_with_more_rows_than_a_slice_is_checked_whole(ledger: Ledger) -> None:
    ledger.insert(*(row(f"many-{index}") for index in range(25)))
    ledger.sql("UPDATE usage SET prompt = 0 WHERE request_id LIKE 'many-%'")
    found = ledger.check(slice_rows=4)
    assert found.rows == 30
    [daily] = [each for each in found.differences if each.kind == "daily"]
    assert daily.figures == {"prompt": (2_700, 200)}
    assert (daily.requests, len(daily.request_ids)) == (25, MOST_IDS)


def test_differences_beyond_the_most_are_counted(ledger: Ledger) -> None:
    ledger.insert(*(row(f"many-{index}", account_id=index + 10) for index in range(MOST_LISTED)))
    ledger.sql("UPDATE usage SET status = 0")
    ledger.sql("UPDATE usage_daily SET requests = 9")
    found = ledger.check()
    assert (len(found.differences), found.found) == (MOST_LISTED, 2 * MOST_LISTED + 9)


def test_rows_near_the_end_of_an_hour_are_where_the_sums_have_them(ledger: Ledger) -> None:
    ledger.insert(*(row(f"late-{n}", started_at=NOON + 3_600 - n * 1e-7) for n in range(30)))
    assert ledger.check().differences == []


class _WhileReading:
    """Has something happen each time some rows were checked."""

    def __init__(self, ledger: Ledger, work: Callable[[int], None]) -> None:
        self.found = Findings()
        self._ledger = ledger
        self._work = work
        self._calls = 0

    def __call__(self, rows: int) -> None:
        self._calls += 1
        self._work(self._calls)

    def run(self) -> list[tuple[Any, ...]]:
        with reading(self._ledger.path) as db:
            LedgerCheck(db, self.found, progress=self, slice_rows=2).run()
        return brief(self.found.differences)


def test_row_that_is_imported_between_two_slices_is_no_difference(ledger: Ledger) -> None:
    def add(call: int) -> None:
        for account in (1, 2, 3):
            for day in (0, 1):
                id_, at = f"new-{call}-{account}-{day}", NOON + day * 86_400
                ledger.insert(
                    row(id_, account_id=account, day=MONDAY + timedelta(days=day), started_at=at)
                )

    assert _WhileReading(ledger, lambda call: add(call) if call < 12 else None).run() == []


def test_rows_that_are_let_go_meanwhile_are_no_difference(ledger: Ledger) -> None:
    def let_go(call: int) -> None:
        if call == 1:
            ledger.sql("INSERT INTO ledger_facts VALUES ('detail_from', '2026-03-03')")
            ledger.sql("DELETE FROM usage WHERE day = '2026-03-02'")

    assert _WhileReading(ledger, let_go).run() == []


# --- the journal ------------------------------------------------------------------------

NAME = f"{1:020}.log"
KEPT = f"{1:020}.damaged"


def flipped(data: bytes, at: bytes) -> bytes:
    """Return data with one bit of the first ``at`` in it changed."""
    place = data.index(at)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def without(data: bytes, *numbers: int) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(each for index, each in enumerate(lines) if index not in numbers)


BROKEN: list[tuple[str, Callable[[bytes], bytes], str, list[str]]] = [
    ("a figure", lambda data: flipped(data, b"1500"), "damaged: line 0", ["mon-1"]),
    ("a figure of the last row", lambda data: flipped(data, b'3",'), "line 2", ["mon-2"]),
    (
        "an id",
        lambda data: flipped(data, b"mon-2"),
        "damaged: line 1",
        ["lon-2"],
    ),
    (
        "the beginning of a row",
        lambda data: flipped(data, b'["mon-2'),
        "damaged: line 1; the ids are of its neighbours",
        ["mon-1", "mon-3"],
    ),
    ("a head", lambda data: flipped(data, b"u00001"), "damaged: line 1", ["mon-2"]),
    (
        "a line in the middle dropped",
        lambda data: without(data, 1),
        "1 line is missing before line 2",
        ["mon-1", "mon-3"],
    ),
    (
        "the last row of a closed file dropped",
        lambda data: without(data, 2),
        "1 line is missing at the end",
        ["mon-2"],
    ),
    (
        "all rows dropped",
        lambda data: without(data, 0, 1, 2),
        "3 lines are missing at the end",
        [],
    ),
    (
        "two lines damaged",
        lambda data: flipped(flipped(data, b"mon-1"), b"mon-2"),
        "damaged: line 0 to 1",
        ["lon-1", "lon-2"],
    ),
    (
        "a line twice",
        lambda data: data[: data.index(b"\n") + 1] + data,
        "line 0 comes once more",
        ["mon-1"],
    ),
    (
        "something behind the end",
        lambda data: data + data[: data.index(b"\n") + 1],
        "line 0 comes after the line that ends the file",
        [],
    ),
    (
        "the file cut within a line",
        lambda data: data[: data.index(b"mon-3") + 20],
        "damaged: line 2, which is not whole",
        ["mon-3"],
    ),
]


@pytest.mark.parametrize(
    ("change", "said", "ids"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN]
)
def test_damage_of_a_journal_file_is_found_with_its_requests(
    ledger: Ledger, change: Callable[[bytes], bytes], said: str, ids: list[str]
) -> None:
    path = ledger.file(1, ROWS[:3])
    path.write_bytes(change(path.read_bytes()))
    [found] = ledger.check().differences
    assert (found.kind, found.file) == ("journal", NAME)
    assert said in found.text
    assert list(found.request_ids) == ids


def test_rows_that_wait_for_their_import_are_no_difference(ledger: Ledger) -> None:
    ledger.file(1, [*ROWS, row("new-1"), row("new-2")], closed=False)
    found = ledger.check()
    assert (found.differences, found.pending) == ([], 2)


def test_same_file_twice_is_no_difference(ledger: Ledger) -> None:
    for number in (1, 2):
        ledger.file(number, [*ROWS, row("new-1")])
    found = ledger.check()
    assert (found.differences, found.journal_rows, found.pending) == ([], 12, 1)


def test_row_that_is_another_in_the_database_is_told_with_both_figures(ledger: Ledger) -> None:
    ledger.file(1, [ROWS[0], ROWS[1]._replace(prompt=99, day=TUESDAY, ttft_ms=None)])
    [found] = ledger.check().differences
    assert brief([found]) == [
        (
            "journal_row",
            NAME,
            1,
            {"day": ("2026-03-02", "2026-03-03"), "prompt": (100, 99), "ttft_ms": (300, None)},
            ["mon-2"],
        )
    ]


def test_rows_in_the_journal_that_were_let_go_do_not_wait(ledger: Ledger) -> None:
    ledger.sql("INSERT INTO ledger_facts VALUES ('detail_from', '2026-03-03')")
    ledger.sql("DELETE FROM usage WHERE day = '2026-03-02'")
    ledger.file(1, ROWS)
    found = ledger.check()
    assert (found.differences, found.pending) == ([], 0)


def test_line_that_is_being_written_is_no_difference(ledger: Ledger) -> None:
    path = ledger.file(1, ROWS[:3], closed=False)
    path.write_bytes(path.read_bytes()[:-30])
    assert ledger.check(running=True).differences == []
    path.write_bytes(flipped(path.read_bytes(), b"mon-2"))
    [found] = ledger.check(running=True).differences
    assert "line 1" in found.text


def test_kept_file_is_told_with_its_damage_and_the_rows_that_are_missing(ledger: Ledger) -> None:
    path = ledger.file(1, [*ROWS[:2], row("lost")])
    path.write_bytes(flipped(path.read_bytes(), b"1500"))
    path.rename(path.with_name(KEPT))
    first, second = ledger.check().differences
    assert (first.kind, first.file, list(first.request_ids)) == ("journal", KEPT, ["mon-1"])
    assert (second.kind, list(second.request_ids)) == ("journal_row", ["lost"])
    assert second.text.endswith("the row of lost is not in the database")


def test_kept_file_without_damage_is_told_all_the_same(ledger: Ledger) -> None:
    path = ledger.file(1, ROWS)
    path.rename(path.with_name(KEPT))
    [found] = ledger.check().differences
    assert (found.kind, found.file) == ("journal", KEPT)


def test_ledger_without_a_journal_is_checked(ledger: Ledger) -> None:
    ledger.journal.rmdir()
    assert ledger.check().differences == []


# --- what cannot be checked -------------------------------------------------------------


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA application_id = 7")


def old(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 1")


REFUSED: list[tuple[str, Callable[[Path], None], type[StorageError]]] = [
    ("no file", Path.unlink, DatabaseMissing),
    ("another program's", foreign, DatabaseForeign),
    ("an older version's", old, StorageError),
]


@pytest.mark.parametrize(
    ("change", "error"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
def test_database_that_cannot_be_checked_is_refused(
    ledger: Ledger, change: Callable[[Path], None], error: type[StorageError]
) -> None:
    change(ledger.path)
    with pytest.raises(error):
        ledger.check()


def test_nothing_is_left_behind_and_nothing_can_be_changed(ledger: Ledger) -> None:
    def files() -> Iterator[str]:
        return (each.name for each in sorted(ledger.folder.iterdir()))

    before = list(files())
    with reading(ledger.path) as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM usage")
    assert list(files()) == before
