"""``plans``: what accounts may use."""

from __future__ import annotations

from pathlib import Path

import click

from kurolproxy.cli.output import json_option, print_rows
from kurolproxy.cli.session import catalog_facts

_LIMITS = ("requests_per_minute", "daily_tokens", "concurrent_requests", "max_output_tokens")


@click.command()
@json_option
@click.pass_obj
def plans(given: Path | None, *, as_json: bool) -> None:
    """List the plans: those of the gateway that runs, else those of the file."""
    rows = catalog_facts(given, "plans.list")
    if not as_json:
        unlimited = dict.fromkeys(_LIMITS, "unlimited")
        rows = [
            {**row, **{name: text for name, text in unlimited.items() if row[name] is None}}
            for row in rows
        ]
    columns = ("name", "models", *_LIMITS)
    print_rows(rows, columns, as_json=as_json, empty="There is no plan: add a [[plans]] table.")
