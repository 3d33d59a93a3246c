"""What the catalog and the ledger say, as the JSON values that the command line prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from kurolproxy.policy.catalog import Catalog, Model, Plan
from kurolproxy.storage.errors import Invalid
from kurolproxy.storage.reports import By, UsageReader


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``usage.report``: what lines stand for, and the first UTC day."""

    by: Annotated[tuple[By, ...], Meta(min_length=1, max_length=5)] = ("day",)
    since: date | None = None


async def usage_facts(reader: UsageReader, args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of a report, as far as the ledger is written.

    Args:
        args: the fields of ``UsageQuery``.

    Raises:
        Invalid: they make no sense.
        StorageError: the ledger cannot be read.
    """
    try:
        query = msgspec.convert(args, UsageQuery)
    except msgspec.ValidationError as error:
        raise Invalid(f"usage.report: {error}") from error
    return await reader.report(query.by, since=query.since)


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
