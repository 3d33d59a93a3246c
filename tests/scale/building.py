"""Make the state directory of a gateway that has run for a year: keys, rows and their sums.

    python -m tests.scale.building FOLDER

The rows are spread to be unkind: seven of ten come from keys and models drawn evenly, so
that hardly two of a day share a line of ``usage_daily``, and that table grows almost as
long as the ledger itself. The other three come from a thousand busy keys.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from kurolproxy.policy.keys import digest
from kurolproxy.storage.migrate import prepare
from kurolproxy.storage.records import shown

MODELS = 20
KEYS_OF_AN_ACCOUNT = 10
_BUSY_KEYS = 1_000
_MIDNIGHT_S = 86_400
_FEW_AT_A_TIME = 50_000

_SUMS = (
    "count(*), sum(prompt), sum(completion), sum(cache_read), sum(cache_write),"
    " sum(reasoning), sum(charged), sum(estimated)"
)
# Multipliers that share no factor with what they are taken modulo: they visit everything.
_ROWS = f"""
INSERT INTO usage (
    request_id, day, started_at, account_id, key_id, model, upstream, client_protocol,
    upstream_protocol, status, outcome, prompt, completion, cache_read, cache_write, reasoning,
    charged, estimated, streamed, duration_ms, ttft_ms
)
SELECT
    printf('req_cgpj5ewrsf2mnq3xqk7td4yzhq%04x%06x', :number, i), :day,
    :midnight + i * {_MIDNIGHT_S}.0 / :rows, k / {KEYS_OF_AN_ACCOUNT} + 1,
    printf('key_%012x', k), 'model-' || (i * 31 % {MODELS}), 'lab', 'openai-chat', 'anthropic',
    200, 'ok', 1000 + i % 997, 200 + i % 89, i % 500, i % 7, i % 50,
    1200 + i % 997 + i % 89, i % 40 = 0, 1, 1500 + i % 1000, 300 + i % 100
FROM (
    SELECT i, iif(i % 10 < 3, i * 7 % {_BUSY_KEYS}, (i * 48271 + :number * 7919) % :keys) AS k
    FROM numbers WHERE i < :rows
)
"""
_DAILY = f"""
INSERT INTO usage_daily
SELECT day, account_id, key_id, model, {_SUMS} FROM usage WHERE day = :day GROUP BY 1, 2, 3, 4
"""
_HOURLY = f"""
INSERT INTO usage_hourly
SELECT day, strftime('%Y-%m-%dT%H:00Z', CAST(started_at AS INTEGER), 'unixepoch'), model, {_SUMS}
FROM usage WHERE day = :day GROUP BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a ledger is.

    Attributes:
        keys: ten of them belong to an account.
        rows: of usage, the same number each day.
        days: the last one is ``until``.
    """

    keys: int = 100_000
    rows: int = 10_000_000
    days: int = 365

    @property
    def rows_of_a_day(self) -> int:
        """Rows of one day, rounded up."""
        return -(-self.rows // self.days)


def secret_of(number: int) -> str:
    """Return the secret of a key, by its number from 0."""
    return f"sk-kurol-of-the-scale-tests-{number:012d}"


def build(path: Path, size: Size, until: date) -> None:
    """Fill a database file that is not there yet.

    Args:
        until: the last day that has rows.
    """
    prepare(path, busy_timeout_s=1.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        # Whatever is cut short here is thrown away and made anew.
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -400000")
        db.execute("BEGIN")
        _people(db, size.keys)
        _numbers(db, size.rows_of_a_day)
        for number in range(size.days):
            _day(db, size, until - timedelta(days=size.days - 1 - number), number)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")


def add_day(path: Path, size: Size, day: date) -> None:
    """Give one more day its rows, unless it has some."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        if db.execute("SELECT 1 FROM usage WHERE day = ? LIMIT 1", [day.isoformat()]).fetchall():
            return
        db.execute("BEGIN")
        _numbers(db, size.rows_of_a_day)
        _day(db, size, day, day.toordinal() % 0x10000)
        db.execute("COMMIT")


def _people(db: sqlite3.Connection, keys: int) -> None:
    accounts = range(1, (keys - 1) // KEYS_OF_AN_ACCOUNT + 2)
    db.executemany(
        "INSERT INTO accounts (id, email, email_folded, name, role, plan, created_at)"
        " VALUES (?, ?, ?, ?, 'user', 'team', 1750000000)",
        ((n, *[f"person-{n}@example.org"] * 2, f"Person {n}") for n in accounts),
    )
    db.executemany(
        "INSERT INTO keys (id, account_id, label, digest, prefix, last_four, admin, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, 0, 1750000000)",
        (_key(number) for number in range(keys)),
    )


def _key(number: int) -> tuple[object, ...]:
    secret = secret_of(number)
    account = number // KEYS_OF_AN_ACCOUNT + 1
    return (f"key_{number:012x}", account, f"laptop {number}", digest(secret), *shown(secret))


def _numbers(db: sqlite3.Connection, count: int) -> None:
    db.execute("CREATE TEMP TABLE numbers (i INTEGER PRIMARY KEY)")
    for start in range(0, count, _FEW_AT_A_TIME):
        stop = min(count, start + _FEW_AT_A_TIME)
        db.executemany("INSERT INTO numbers VALUES (?)", ((i,) for i in range(start, stop)))


def _day(db: sqlite3.Connection, size: Size, day: date, number: int) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    values = {
        "day": day.isoformat(),
        "midnight": midnight,
        "rows": size.rows_of_a_day,
        "keys": size.keys,
        "number": number,
    }
    db.execute(_ROWS, values)
    db.execute(_DAILY, values)
    db.execute(_HOURLY, values)


def main(folder: Path) -> None:
    """Make the ledger of the scale tests in a folder that is there or not."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    path = folder / "kurolproxy.db"
    build(path, Size(), datetime.now(UTC).date())
    size_mib = path.stat().st_size / 2**20
    print(f"{path}: {size_mib:,.0f} MiB in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
