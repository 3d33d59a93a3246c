"""The usage of accounts as the management API answers it: JSON or CSV, line by line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp.web import BaseRequest
from msgspec import UNSET

from kurolproxy.server.api_models import UsageQuery
from kurolproxy.server.reply import ClientStream, Headers, Written, hang_up, whole
from kurolproxy.storage.errors import StorageError
from kurolproxy.storage.report_csv import csv_head, csv_lines
from kurolproxy.storage.report_sql import Question, columns_of
from kurolproxy.storage.reports import Report, UsageReader

Lines = Sequence[Mapping[str, Any]]

CSV_KIND: Final = "text/csv; charset=utf-8"


def wants_csv(request: BaseRequest, query: UsageQuery) -> bool:
    """Return whether a client asks for comma-separated values."""
    if query.format is not UNSET:
        return query.format == "csv"
    accepted = [part.partition(";")[0].strip() for part in _accepted(request).split(",")]
    return "text/csv" in accepted and "application/json" not in accepted


async def answer_usage(
    request: BaseRequest,
    reader: UsageReader,
    query: UsageQuery,
    *,
    pending: int,
    headers: Headers,
) -> Written:
    """Add up a report and write it, piece by piece: nobody holds all of it.

    The status is known before the first byte: all that can take long is done by then.

    Args:
        pending: how many rows are not in the database.
        headers: of the answer, without the kind of its body.

    Raises:
        StorageError: the ledger cannot be read.
    """
    by = tuple(dict.fromkeys(query.by))
    question = Question(by, query.since or None, query.until or None, query.account_id or None)
    as_csv = wants_csv(request, query)
    kind = CSV_KIND if as_csv else "application/json"
    headers = [*headers, ("content-type", kind), ("vary", "accept")]
    if as_csv:
        headers.append(("content-disposition", 'attachment; filename="usage.csv"'))
    async with reader.ask(question) as report:
        async for _ in report.steps():
            pass
        if request.method == "HEAD":
            return whole(request, 200, headers, b"")
        stream = ClientStream(request, lambda: headers)
        try:
            await (_csv(stream, report, by) if as_csv else _json(stream, report, pending))
        except (StorageError, ConnectionError):
            # Half an answer is out: all that is left is to cut it.
            return hang_up(request)
        return stream.end()


async def _json(stream: ClientStream, report: Report, pending: int) -> None:
    facts = {
        "pending": pending,
        "ends_with": report.ends_with,
        "left_out": report.left_out,
        "detail_from": report.detail_from,
    }
    stream.write(msgspec.json.encode(facts)[:-1] + b',"data":[')
    comma = b""
    async for lines in report.batches(_between_brackets):
        stream.write(comma + lines)
        comma = b","
        await stream.drain()
    stream.write(b"]}")


async def _csv(stream: ClientStream, report: Report, by: Sequence[Any]) -> None:
    columns = columns_of(by)
    stream.write(csv_head(columns))
    async for lines in report.batches(_as_csv(columns)):
        stream.write(lines)
        await stream.drain()


def _as_csv(columns: Sequence[str]) -> Callable[[list[dict[str, Any]]], bytes]:
    return lambda lines: csv_lines(columns, lines)


def _between_brackets(lines: Lines) -> bytes:
    return msgspec.json.encode(lines)[1:-1]


def _accepted(request: BaseRequest) -> str:
    return request.headers.get("accept", "").lower()
