"""What the catalog and the ledger say, as the JSON values that the command line prints."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from kurolproxy.policy.catalog import Catalog, Model, Plan
from kurolproxy.storage.errors import Invalid
from kurolproxy.storage.report_sql import By, Question
from kurolproxy.storage.reports import Report, UsageReader


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``usage.report``: what lines stand for, the first and the last UTC day."""

    by: Annotated[tuple[By, ...], Meta(min_length=1, max_length=5)] = ("day",)
    since: date | None = None
    until: date | None = None


class Pieces:
    """A result that is JSON already, made and sent piece by piece: nobody holds all of it.

    Args:
        pieces: joined together they are one JSON value without a line feed. White space may
            come first, for as long as nothing is known yet: it tells that work goes on.
    """

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces

    def opened(self) -> aclosing[AsyncGenerator[bytes, None]]:
        """Return a context manager of the pieces, which may be left before their end."""
        return aclosing(self._pieces)

    async def whole(self) -> Any:
        """Return the value."""
        async with self.opened() as pieces:
            return msgspec.json.decode(b"".join([piece async for piece in pieces]))


async def usage_facts(reader: UsageReader, args: Mapping[str, Any], *, pending: int = 0) -> Pieces:
    """Return a report, as far as the ledger is written.

    It is an object: ``rows``; ``pending``; and what ``rows`` lack: ``ends_with`` (a day: all
    later ones), ``left_out`` (so many lines at the end), ``detail_from`` (a day: whatever
    came before it, because hours are not known there any more); null, 0, null mean nothing.

    Args:
        args: the fields of ``UsageQuery``.
        pending: how many rows are not written.

    Raises:
        Invalid: they make no sense.
        StorageError: the ledger cannot be read; also from the pieces, before the first that
            is not white space, but for a disk that fails just then.
    """
    try:
        query = msgspec.convert(args, UsageQuery)
    except msgspec.ValidationError as error:
        raise Invalid(f"usage.report: {error}") from error
    question = Question(query.by, query.since, query.until)
    return Pieces(_report(reader.ask(question), pending))


async def _report(report: Report, pending: int) -> AsyncGenerator[bytes, None]:
    async with report:
        async for _ in report.steps():
            yield b" "
        yield b'{"rows": ['
        comma = b""
        async for lines in report.batches(_encoded):
            yield comma + lines
            comma = b", "
        rest = {
            "pending": pending,
            "ends_with": report.ends_with,
            "left_out": report.left_out,
            "detail_from": report.detail_from,
        }
        yield b"], " + msgspec.json.encode(rest)[1:]


def _encoded(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Return what stands between the brackets of a JSON array."""
    return msgspec.json.encode(lines)[1:-1]


def model_facts(catalog: Catalog) -> list[dict[str, Any]]:
    """Return every model in the order of the file; None: not known."""
    return [_model(each, catalog) for each in catalog.models.values()]


def plan_facts(catalog: Catalog) -> list[dict[str, Any]]:
    """Return every plan in the order of the file; a limit that is None is unlimited."""
    return [_plan(each) for each in catalog.plans.values()]


def _model(model: Model, catalog: Catalog) -> dict[str, Any]:
    return {
        "id": model.id,
        "aliases": list(model.aliases),
        "active": model.active,
        "plans": [each.name for each in catalog.plans.values() if each.allows(model.id)],
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "price": None if model.price is None else asdict(model.price),
        "targets": [
            {
                "upstream": each.upstream.name,
                "model": each.model,
                "protocols": list(each.protocols),
                "priority": each.priority,
                "weight": each.weight,
            }
            for each in model.targets
        ],
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {**asdict(plan), "models": list(plan.models)}
