"""Reports: right whatever table they are made of and however they are cut, and small steps."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar, get_args

import pytest

from kurolproxy.storage import report_sql, reports
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import QueryTooLong
from kurolproxy.storage.lane import Queries
from kurolproxy.storage.report_sql import By, Question, Slice
from kurolproxy.storage.reports import Line, Report, Totals, UsageReader
from kurolproxy.storage.retention import prune
from kurolproxy.storage.rows import UsageRow
from kurolproxy.storage.usage import COUNTERS, hour_of
from tests.scale.building import Size, build
from tests.storage.usage_rows import MONDAY, NOON, TUESDAY, row, write

T = TypeVar("T")

DIMENSIONS: tuple[By, ...] = get_args(By)
COMBINATIONS = [by for count in range(1, 6) for by in itertools.combinations(DIMENSIONS, count)]
A_YEAR = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kurolproxy.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(path)
    yield opened
    await opened.close()


@pytest.fixture
def reader(database: Database) -> UsageReader:
    return UsageReader(database)


async def made(report: Report) -> list[Line]:
    """Make a report, and return its lines."""
    async with report:
        async for _ in report.steps():
            pass
        return [line async for lines in report.batches(list) for line in lines]


# --- what a report says ---------------------------------------------------------------


async def filled(database: Database) -> None:
    store = AccountStore(database)
    await store.create_account("ann@example.org", "team")
    await store.create_account("ben@example.org", "team")
    key, _ = await store.create_key("ann@example.org", label="laptop")
    later = {"day": TUESDAY, "started_at": NOON + 86_400}
    rows = [
        row("1", key_id=key.id, charged=100),
        row("2", key_id=key.id, charged=10, started_at=NOON + 3_599.9999, estimated=True),
        row("3", key_id="gone", charged=1, started_at=NOON + 3_600, model="claude"),
        row("4", account_id=2, key_id="bens", charged=1_000, **later),
        row("5", account_id=9, key_id="old", charged=5, **later),
    ]
    await write(database, rows)


async def test_report_by_day_has_all_counts(database: Database, reader: UsageReader) -> None:
    await filled(database)
    assert (await reader.report("day"))[0] == {
        "day": "2026-03-02",
        "requests": 3,
        "prompt": 300,
        "completion": 60,
        "cache_read": 30,
        "cache_write": 15,
        "reasoning": 24,
        "charged": 111,
        "estimated": 1,
    }


REPORTS = [
    ("day", ("day", "charged"), [("2026-03-02", 111), ("2026-03-03", 1_005)]),
    (
        "hour",
        ("hour", "requests", "charged"),
        [
            ("2026-03-02T12:00Z", 2, 110),
            ("2026-03-02T13:00Z", 1, 1),
            ("2026-03-03T12:00Z", 2, 1_005),
        ],
    ),
    ("model", ("model", "requests", "charged"), [("gpt-4o", 4, 1_115), ("claude", 1, 1)]),
    (
        "account",
        ("account_id", "account", "charged"),
        [(2, "ben@example.org", 1_000), (1, "ann@example.org", 111), (9, None, 5)],
    ),
    (
        "key",
        ("label", "account", "charged"),
        [
            (None, "ben@example.org", 1_000),
            ("laptop", "ann@example.org", 110),
            (None, None, 5),
            (None, "ann@example.org", 1),
        ],
    ),
    (
        ("day", "model"),
        ("day", "model", "charged"),
        [
            ("2026-03-02", "gpt-4o", 110),
            ("2026-03-02", "claude", 1),
            ("2026-03-03", "gpt-4o", 1_005),
        ],
    ),
    (
        ("hour", "account"),
        ("hour", "account", "charged"),
        [
            ("2026-03-02T12:00Z", "ann@example.org", 110),
            ("2026-03-02T13:00Z", "ann@example.org", 1),
            ("2026-03-03T12:00Z", "ben@example.org", 1_000),
            ("2026-03-03T12:00Z", None, 5),
        ],
    ),
    (
        ("account", "key"),
        ("account_id", "account", "label", "charged"),
        [
            (2, "ben@example.org", None, 1_000),
            (1, "ann@example.org", "laptop", 110),
            (9, None, None, 5),
            (1, "ann@example.org", None, 1),
        ],
    ),
]


@pytest.mark.parametrize(("by", "names", "lines"), REPORTS, ids=[str(case[0]) for case in REPORTS])
async def test_report(
    database: Database, reader: UsageReader, by: Any, names: tuple[str, ...], lines: list[Any]
) -> None:
    await filled(database)
    report = await reader.report(by)
    assert [tuple(line[name] for name in names) for line in report] == lines


async def test_columns_come_in_the_order_of_the_dimensions(
    database: Database, reader: UsageReader
) -> None:
    await filled(database)
    [line, *_] = await reader.report(("model", "key", "day"))
    assert list(line) == ["model", "key", "label", "account", "day", *COUNTERS]


@pytest.mark.parametrize("by", DIMENSIONS)
async def test_report_is_narrowed_to_days_and_to_an_account(
    database: Database, reader: UsageReader, by: By
) -> None:
    await filled(database)

    async def charged(**narrowed: Any) -> int:
        return sum(line["charged"] for line in await reader.report(by, **narrowed))

    assert await charged(since=TUESDAY) == 1_005
    assert await charged(until=MONDAY) == 111
    assert await charged(since=MONDAY, until=TUESDAY) == 1_116
    assert await charged(account_id=1) == 111
    assert await reader.report(by, since=TUESDAY, account_id=1) == []
    assert await reader.report(by, since=TUESDAY, until=MONDAY) == []


async def test_usage_outlives_its_account(database: Database, reader: UsageReader) -> None:
    await filled(database)
    await AccountStore(database).delete("ann@example.org")
    line = (await reader.report("account"))[1]
    assert (line["account_id"], line["account"], line["charged"]) == (1, None, 111)


@pytest.mark.parametrize("by", COMBINATIONS, ids=map("-".join, COMBINATIONS))
async def test_report_of_an_empty_ledger_is_empty(reader: UsageReader, by: tuple[By, ...]) -> None:
    assert await reader.report(by) == []


# --- however it is cut ----------------------------------------------------------------


def any_rows(count: int, days: list[date], seed: int = 5) -> list[UsageRow]:
    """Return rows spread over everything that lines stand for."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        day = chance.choice(days)
        midnight = NOON + 86_400 * ((day - MONDAY).days - 0.5)
        account = chance.randrange(1, 6)
        fields = {name: chance.randrange(1, 5_000) for name in row("x")._fields[11:17]}
        fields |= {
            "day": day,
            # A clock that was set back: the row's day is not that of its hour.
            "started_at": midnight + chance.uniform(-7_200, 86_400),
            "account_id": account,
            "key_id": f"key_{account}{chance.randrange(3)}",
            "model": f"m{chance.randrange(4)}",
            "estimated": chance.random() < 0.2,
        }
        rows.append(row(f"r{number}", **fields))
    return rows


def added_up(rows: Iterable[UsageRow], by: tuple[By, ...]) -> dict[tuple[Any, ...], list[int]]:
    """Return what a report must say, by the rows themselves."""
    place: dict[By, Callable[[UsageRow], Any]] = {
        "day": lambda each: each.day.isoformat(),
        "hour": lambda each: hour_of(each.started_at),
        "key": lambda each: each.key_id,
        "model": lambda each: each.model,
        "account": lambda each: each.account_id,
    }
    sums: dict[tuple[Any, ...], list[int]] = {}
    for each in rows:
        added = sums.setdefault(tuple(place[name](each) for name in by), [0] * len(COUNTERS))
        for index, value in enumerate((1, *each[11:17], each.estimated)):
            added[index] += value
    return sums


def told(report: list[Line], by: tuple[By, ...]) -> dict[tuple[Any, ...], list[int]]:
    names = ["account_id" if name == "account" else name for name in by]
    lines = {
        tuple(line[name] for name in names): [line[name] for name in COUNTERS] for line in report
    }
    assert len(lines) == len(report), "a line stands there twice"
    return lines


@pytest.mark.parametrize("by", COMBINATIONS, ids=map("-".join, COMBINATIONS))
async def test_every_report_is_the_sum_of_the_rows(
    database: Database, reader: UsageReader, by: tuple[By, ...]
) -> None:
    rows = any_rows(300, A_YEAR[::30])
    await write(database, rows)
    assert told(await reader.report(by), by) == added_up(rows, by)
    of_one = [each for each in rows if each.account_id == 3]
    assert told(await reader.report(by, account_id=3), by) == added_up(of_one, by)


class SlowQueries(Queries):
    """Lets no statement add up many rows, as if each of them took long."""

    refused = 0

    def rows(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        if sql.startswith("INSERT"):
            tail = sql[sql.index(" FROM ") : sql.index(" GROUP BY")]
            # A day of the smallest table cannot be cut.
            most = 100 if "usage_hourly" in tail else 30
            if self.scratch(f"SELECT count(*) {tail}", parameters)[0][0] > most:
                SlowQueries.refused += 1
                raise QueryTooLong("as a large ledger would")
        return super().rows(sql, parameters)


class SlowDatabase(Database):
    """A database on which only short statements end in time."""

    async def report(self, work: Callable[[Queries], T]) -> T:
        return await super().report(lambda queries: work(SlowQueries(queries._connection, 60.0)))


@pytest.fixture
async def slow(path: Path) -> AsyncIterator[Database]:
    opened = await SlowDatabase.open(path)
    SlowQueries.refused = 0
    yield opened
    await opened.close()


@pytest.mark.parametrize("by", COMBINATIONS, ids=map("-".join, COMBINATIONS))
@pytest.mark.parametrize("account_id", [None, 3])
async def test_slices_that_take_too_long_are_halved_and_give_the_same_sums(
    slow: Database, by: tuple[By, ...], account_id: int | None
) -> None:
    rows = any_rows(600, A_YEAR[:8])
    await write(slow, rows)
    lines = await UsageReader(slow).report(by, account_id=account_id)
    expected = [each for each in rows if account_id in (None, each.account_id)]
    assert told(lines, by) == added_up(expected, by)
    assert SlowQueries.refused > 0


async def test_busy_account_is_added_up_in_parts_of_its_day(slow: Database) -> None:
    rows = [row(f"r{number}", charged=number) for number in range(700)]
    await write(slow, [*rows, row("other", account_id=2)])
    lines = await UsageReader(slow).report(("hour", "account"))
    assert {line["account_id"]: line["charged"] for line in lines} == {1: sum(range(700)), 2: 120}
    assert SlowQueries.refused > 10


async def test_slices_grow_while_they_are_quick(
    database: Database,
) -> None:
    await write(database, any_rows(365, A_YEAR))
    quick = Report(database, Question(("key",)), clock=lambda: 0.0)
    steps = 0
    async with quick:
        async for _ in quick.steps():
            steps += 1
    # 1, 2, 4, 8, 16, 32 and then 64 days, more of them for the days without rows.
    assert steps in (10, 11)


@pytest.mark.parametrize(
    ("days", "took_s", "next_days"),
    [(1, 0.0, 2), (8, 0.49, 16), (8, 0.51, 8), (8, 1.0, 8), (8, 1.01, 4), (1, 9.0, 1), (64, 0, 64)],
)
def test_next_slice_is_as_long_as_the_last_one_was_quick(
    days: int, took_s: float, next_days: int
) -> None:
    report = Report(None, Question(("key",)), slice_s=1.0)  # type: ignore[arg-type]  # asks nothing
    assert report._days(days, took_s) == next_days


async def test_gap_of_centuries_costs_no_queries(database: Database) -> None:
    await write(database, [row("1"), row("2", day=date(9999, 12, 31)), row("3", day=date(1, 1, 1))])
    report = Report(database, Question(("day",)))
    steps = 0
    async with report:
        async for _ in report.steps():
            steps += 1
        lines = [line async for batch in report.batches(list) for line in batch]
    assert [line["day"] for line in lines] == ["0001-01-01", "2026-03-02", "9999-12-31"]
    assert steps == 3


async def test_report_that_takes_too_long_however_it_is_cut_is_stopped(path: Path) -> None:
    database = await Database.open(path, read_limit_s=0.0)
    await write(database, [row(f"r{number}", model=f"m{number}") for number in range(2_000)])
    with pytest.raises(QueryTooLong):
        await UsageReader(database).report("hour")
    await database.close()


# --- long reports ---------------------------------------------------------------------


async def test_lines_by_charge_are_cut_at_the_end_and_counted(database: Database) -> None:
    await write(database, [row(f"r{n}", key_id=f"key_{n:03}", charged=n) for n in range(100)])
    report = Report(database, Question(("key",)), most_lines=10)
    assert [line["charged"] for line in await made(report)] == [*range(99, 89, -1)]
    assert (report.left_out, report.ends_with) == (90, None)


@pytest.mark.parametrize("by", [("day", "key"), ("hour", "key"), ("key", "day")])
async def test_lines_by_time_are_cut_between_two_days(
    database: Database, by: tuple[By, ...]
) -> None:
    rows = [
        row(f"r{n}", day=day, started_at=NOON + 86_400 * index, key_id=f"key_{n:03}")
        for index, day in enumerate([MONDAY, TUESDAY, date(2026, 3, 4), date(2026, 3, 5)])
        for n in range(100 * index, 100 * index + 100)
    ]
    await write(database, rows)
    report = Report(database, Question(by), most_lines=120)
    lines = await made(report)
    # One day, then two, which are added up together.
    assert (len(lines), report.ends_with, report.left_out) == (300, date(2026, 3, 4), 0)
    rest = await made(Report(database, Question(by, since=date(2026, 3, 5)), most_lines=120))
    assert len(rest) == 100


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1_000, 1_203])
async def test_lines_come_in_batches(database: Database, reader: UsageReader, count: int) -> None:
    await write(database, [row(f"r{n}", key_id=f"key_{n}", charged=n) for n in range(count)])
    sizes = []
    async with reader.ask(Question(("key",))) as report:
        async for _ in report.steps():
            pass
        async for size in report.batches(len):
            sizes.append(size)
    assert (sum(sizes), max(sizes, default=0) <= 500, 0 in sizes) == (count, True, False)


async def temporary(database: Database) -> list[tuple[Any, ...]]:
    sql = "SELECT name FROM temp.sqlite_master"
    return await database.report(lambda queries: queries.scratch(sql))


async def test_report_leaves_nothing_behind(database: Database, reader: UsageReader) -> None:
    await filled(database)
    await reader.report(("day", "key"))
    assert await temporary(database) == []
    async with reader.ask(Question(("day",))) as given_up:
        await anext(given_up.steps())
        assert await temporary(database) != []
    assert await temporary(database) == []


async def test_reports_and_imports_get_in_between(database: Database, reader: UsageReader) -> None:
    await write(database, any_rows(300, A_YEAR))
    async with reader.ask(Question(("key",))) as slow:
        steps = slow.steps()
        await anext(steps)
        assert len(await reader.report("day")) > 100
        await write(database, [row("meanwhile", day=date(2030, 1, 1), key_id="new")])
        async for _ in steps:
            pass
        lines = [line async for batch in slow.batches(list) for line in batch]
    assert "new" in {line["key"] for line in lines}
    assert sum(line["requests"] for line in lines) == 301


async def test_many_reports_at_the_same_time_do_not_mix(
    database: Database, reader: UsageReader
) -> None:
    rows = any_rows(300, A_YEAR[::5])
    await write(database, rows)
    reports = await asyncio.gather(*(reader.report(by) for by in COMBINATIONS[:15]))
    for by, report in zip(COMBINATIONS, reports, strict=False):
        assert told(report, by) == added_up(rows, by)


# --- which table is read --------------------------------------------------------------

SMALL = Size(keys=2_000, rows=50_000, days=30)
LAST = date(2026, 3, 30)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ledger of the scale tests in small."""
    path = tmp_path_factory.mktemp("year") / "kurolproxy.db"
    build(path, SMALL, LAST)
    return path


@pytest.fixture
async def small(year: Path) -> AsyncIterator[Database]:
    opened = await Database.open(year)
    yield opened
    await opened.close()


def expected_table(by: tuple[By, ...], account_id: int | None) -> str:
    if account_id is None and not {"key", "account"} & {*by}:
        return "usage_hourly"
    return "usage" if "hour" in by else "usage_daily"


async def plan(database: Database, question: Question, part: Slice) -> list[str]:
    """Return how a slice is read."""

    def work(queries: Queries) -> list[str]:
        queries.scratch(report_sql.create("sums", question.by))
        sql, values = report_sql.add("sums", question, part)
        steps = [str(each[-1]) for each in queries.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
        queries.scratch("DROP TABLE temp.sums")
        return steps

    return await database.report(work)


@pytest.mark.parametrize("by", COMBINATIONS, ids=map("-".join, COMBINATIONS))
@pytest.mark.parametrize("account_id", [None, 7])
@pytest.mark.parametrize("days", [1, 9])
async def test_smallest_table_is_sought_by_day_and_never_read_whole(
    small: Database, by: tuple[By, ...], account_id: int | None, days: int
) -> None:
    part = Slice(LAST - timedelta(days=days - 1), LAST)
    steps = await plan(small, Question(by, account_id=account_id), part)
    [read] = [step for step in steps if step.startswith(("SCAN", "SEARCH"))]
    assert read.split()[:2] == ["SEARCH", expected_table(by, account_id)]
    assert "(day=?" in read if days == 1 else "(day>? AND day<?" in read


@pytest.mark.parametrize(
    "part",
    [Slice(LAST, LAST, (1, 9)), Slice(LAST, LAST, (7, 7)), Slice(LAST, LAST, (7, 7), (1, 999_999))],
)
async def test_part_of_a_day_is_sought_by_account_and_row(small: Database, part: Slice) -> None:
    [read] = [
        step
        for step in await plan(small, Question(("hour", "key")), part)
        if step.startswith(("SCAN", "SEARCH"))
    ]
    assert "usage_by_day (day=? AND account_id" in read
    assert ("rowid>?" in read) is (part.rowids is not None)


@pytest.mark.parametrize(
    "source",
    [report_sql.HOURLY, report_sql.DAILY, report_sql.DETAIL],
    ids=lambda each: each.name.split()[0],
)
async def test_next_day_is_a_seek(small: Database, source: report_sql.Source) -> None:
    sql = report_sql.next_day(source)
    steps = await small.read(f"EXPLAIN QUERY PLAN {sql}", ["2026-03-01", "2026-04-01"])
    assert [step["detail"].split()[0] for step in steps] == ["SEARCH"]


@pytest.mark.parametrize("by", [("day",), ("model",), ("key",), ("account",), ("hour", "account")])
async def test_year_in_small_adds_up(small: Database, by: tuple[By, ...]) -> None:
    report = await UsageReader(small).report(by)
    assert sum(line["requests"] for line in report) == SMALL.rows_of_a_day * SMALL.days
    expected = {"day": 30, "model": 20, "key": 2_000, "account": 200}
    if by[0] in expected:
        assert len(report) == expected[by[0]]


# --- days without their rows ----------------------------------------------------------


async def test_days_without_their_rows_are_reported_but_for_hours_of_keys(
    database: Database, reader: UsageReader
) -> None:
    await filled(database)
    kept = {by: await reader.report(by) for by in COMBINATIONS}
    assert await prune(database, TUESDAY) == 3
    for by in COMBINATIONS:
        question = Question(by)
        report = reader.ask(question)
        lines = await made(report)
        if report_sql.source_of(question).detail:
            assert [line["charged"] for line in lines] == [1_000, 5]
            assert report.detail_from == TUESDAY
        else:
            assert (lines, report.detail_from) == (kept[by], None)


async def test_report_that_begins_after_the_deleted_days_is_whole(
    database: Database, reader: UsageReader
) -> None:
    await filled(database)
    await prune(database, TUESDAY)
    report = reader.ask(Question(("hour", "key"), since=TUESDAY))
    assert len(await made(report)) == 2
    assert report.detail_from is None


# --- at a start -----------------------------------------------------------------------


async def test_totals_of_a_day_are_by_account_and_by_key(
    database: Database, reader: UsageReader
) -> None:
    rows = [
        row("1", charged=100),
        row("2", charged=10, model="other"),
        row("3", charged=7, key_id="key_b"),
        row("4", charged=5, account_id=2, key_id="key_c"),
        row("5", charged=10_000, day=TUESDAY),
    ]
    await write(database, rows)
    assert await reader.totals(MONDAY) == Totals(
        {1: 117, 2: 5}, {"key_a": 110, "key_b": 7, "key_c": 5}
    )
    assert await reader.totals(date(2026, 1, 1)) == Totals({}, {})


async def test_days_of_a_wrong_clock_are_found(database: Database, reader: UsageReader) -> None:
    far = date(2099, 1, 1)
    rows = [row("1"), row("2", day=far), row("3", day=TUESDAY), row("4", day=far)]
    await write(database, rows)
    assert await reader.days_after(MONDAY) == [TUESDAY, far]
    assert await reader.days_after(far) == []


@pytest.mark.parametrize("sql", [reports._TOTALS, reports._DAY_AFTER])
async def test_start_reads_one_day_and_seeks_the_later_ones(small: Database, sql: str) -> None:
    [step] = await small.read(f"EXPLAIN QUERY PLAN {sql}", [LAST.isoformat()])
    assert step["detail"].startswith("SEARCH usage_daily USING PRIMARY KEY (day")
