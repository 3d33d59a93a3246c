"""``usage``: what the ledger says of tokens."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from kurolproxy.cli.output import json_option, print_rows
from kurolproxy.cli.session import call
from kurolproxy.storage.usage import COUNTERS

DIMENSIONS: Final = ("day", "hour", "key", "model", "account")
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "key": ("key", "label"),
    "account": ("account_id", "account"),
}


def _dimensions(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    """Return what stands between commas, each once."""
    found = list(dict.fromkeys(part.strip() for part in value.split(",")))
    for part in found:
        if part not in DIMENSIONS:
            raise click.BadParameter(f"{part!r} is not one of {', '.join(DIMENSIONS)}")
    return found


@click.command()
@click.option(
    "--by",
    metavar=",".join(DIMENSIONS),
    callback=_dimensions,
    default="day",
    show_default=True,
    help="What lines stand for: one or several of these.",
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The first day (UTC), as 2030-12-31.",
)
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The last day (UTC).",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@json_option
@click.pass_obj
def usage(
    given: Path | None,
    *,
    by: list[str],
    since: datetime | None,
    until: datetime | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Report requests and tokens, added up by one or several of day, hour, key, model, account.

    "charged" is what counted against the daily allowance; "estimated" is the number of
    requests whose usage the upstream did not report.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is after --until")
    report = call(given, "usage.report", {"by": by, "since": _day(since), "until": _day(until)})
    rows = report["rows"]
    columns = [name for part in by for name in _NAMES.get(part, (part,))]
    if as_csv:
        _print_csv(rows, [*columns, *COUNTERS])
    else:
        print_rows(rows, [*columns, *COUNTERS], as_json=as_json, empty="Nothing was used yet.")
    for note in _notes(report):
        click.echo(note, err=True)


def _day(given: datetime | None) -> str | None:
    return None if given is None else given.date().isoformat()


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what people are to know of a report that is not whole."""
    if report["pending"]:
        yield f"{report['pending']:,} rows are not written to the ledger yet."
    if report["detail_from"]:
        yield (
            f"Hours of keys and accounts are known from {report['detail_from']} on; earlier"
            " rows were deleted (detail_days), and only their sums by day are left."
        )
    if report["ends_with"]:
        yield (
            f"The report ends with {report['ends_with']}, later days would be too many lines:"
            " choose them with --since, or narrow --by."
        )
    if report["left_out"]:
        yield (
            f"{report['left_out']:,} more lines, with less charged, are left out: choose fewer"
            " days with --since and --until, or narrow --by."
        )


def _print_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in row.items()} for row in rows)


def _safe(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: labels are what users typed."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
