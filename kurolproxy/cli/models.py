"""``models``: what can be called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kurolproxy.cli.output import json_option, print_rows
from kurolproxy.cli.session import catalog_facts

_COLUMNS = ("id", "aliases", "active", "plans", "context_window", "max_output_tokens", "targets")


@click.group()
def models() -> None:
    """List the models."""


@models.command(name="list")
@json_option
@click.pass_obj
def list_(given: Path | None, *, as_json: bool) -> None:
    """List the models: those of the gateway that runs, else those of the file."""
    rows = catalog_facts(given, "models.list")
    if not as_json:
        rows = [{**row, "targets": list(map(_target, row["targets"]))} for row in rows]
    print_rows(rows, _COLUMNS, as_json=as_json, empty="There is no model: add a [[models]] table.")


def _target(target: Mapping[str, Any]) -> str:
    return f"{target['upstream']}/{target['model']}"
