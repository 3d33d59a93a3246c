"""Questions about what was used: today's sums for a start, tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from kurolproxy.storage.database import Database

By = Literal["day", "hour", "key", "model", "account"]

_SUMS = (
    "sum(prompt) AS prompt, sum(completion) AS completion, sum(cache_read) AS cache_read,"
    " sum(cache_write) AS cache_write, sum(reasoning) AS reasoning, sum(charged) AS charged,"
    " sum(estimated) AS estimated"
)
_DAILY = f"sum(requests) AS requests, {_SUMS} FROM usage_daily AS used"
_DETAIL = f"count(*) AS requests, {_SUMS} FROM usage AS used"
_WHERE = "WHERE used.day >= :since AND (:account IS NULL OR used.account_id = :account)"
_OWNER = "LEFT JOIN accounts ON accounts.id = used.account_id"
_KEY = "LEFT JOIN keys ON keys.id = used.key_id"
_COLUMNS: dict[By, tuple[str, ...]] = {
    "day": ("used.day AS day",),
    "hour": ("strftime('%Y-%m-%dT%H:00Z', started_at, 'unixepoch') AS hour",),
    "key": ("used.key_id AS key", "keys.label AS label", "accounts.email AS account"),
    "model": ("used.model AS model",),
    "account": ("used.account_id AS account_id", "accounts.email AS account"),
}
_GROUPS: dict[By, str] = {
    "day": "used.day",
    "hour": "hour",
    "key": "used.key_id, used.account_id",
    "model": "used.model",
    "account": "used.account_id",
}
_JOINS: dict[By, tuple[str, ...]] = {"key": (_OWNER, _KEY), "account": (_OWNER,)}


def _sql(by: Sequence[By]) -> str:
    """Return the query of a report by these dimensions."""
    columns = dict.fromkeys(column for each in by for column in _COLUMNS[each])
    joins = dict.fromkeys(join for each in by for join in _JOINS.get(each, ()))
    times = [_GROUPS[each] for each in by if each in ("day", "hour")]
    others = [_GROUPS[each] for each in by if each not in ("day", "hour")]
    order = [*times, "charged DESC", *others]
    return " ".join(
        [
            f"SELECT {', '.join(columns)}, {_DETAIL if 'hour' in by else _DAILY}",
            *joins,
            _WHERE,
            f"GROUP BY {', '.join([*times, *others])} ORDER BY {', '.join(order)}",
        ]
    )


@dataclass(frozen=True, slots=True)
class Totals:
    """Tokens charged on one day.

    Attributes:
        accounts: by account id.
        keys: by key id.
    """

    accounts: dict[int, int]
    keys: dict[str, int]


class UsageReader:
    """Sums of the ledger, as far as it is written: ``UsageWriter.flush`` first for all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def totals(self, day: date) -> Totals:
        """Return what was charged on a day, to restore the allowances after a start."""
        rows = await self._database.read(
            "SELECT account_id, key_id, sum(charged) AS charged FROM usage_daily"
            " WHERE day = ? GROUP BY account_id, key_id",
            [day.isoformat()],
        )
        totals = Totals({}, {})
        for account_id, key_id, charged in map(tuple, rows):
            totals.accounts[account_id] = totals.accounts.get(account_id, 0) + charged
            totals.keys[key_id] = totals.keys.get(key_id, 0) + charged
        return totals

    async def days_after(self, today: date) -> list[date]:
        """Return the days of the ledger that lie in the future; see ``quota.starting_day``."""
        rows = await self._database.read(
            "SELECT DISTINCT day FROM usage_daily WHERE day > ? ORDER BY day", [today.isoformat()]
        )
        return [date.fromisoformat(row["day"]) for row in rows]

    async def report(
        self, by: By | Sequence[By], *, since: date | None = None, account_id: int | None = None
    ) -> list[dict[str, Any]]:
        """Add up requests and tokens.

        Args:
            by: what each line stands for; several: a line for each combination that occurs.
            since: the first UTC day; None: from the beginning.
            account_id: of one account only.

        Returns:
            lines with what they stand for (``day``; ``hour``; ``key``, ``label``,
            ``account``; ``model``; ``account_id``, ``account``), ``requests``, the token
            counts, ``charged``, and ``estimated``: requests whose usage was not reported.
            The account, an email, is None when it was deleted. Days and hours come in
            order, all else by what was charged.
        """
        first = date.min if since is None else since
        values = {"since": first.isoformat(), "account": account_id}
        sql = _sql((by,) if isinstance(by, str) else by)
        return [dict(row) for row in await self._database.read(sql, values)]
