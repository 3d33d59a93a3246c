"""``check``: every problem of the configuration, with file, line and column."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from kurolproxy.cli.failure import Failed
from kurolproxy.cli.output import json_option, print_json
from kurolproxy.cli.site import config_path
from kurolproxy.config.load import load
from kurolproxy.config.model import Config
from kurolproxy.config.problems import ConfigError, Problem


@click.command()
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@json_option
@click.pass_obj
def check(given: Path | None, *, strict: bool, as_json: bool) -> None:
    """Validate the configuration.

    Prints every problem as FILE:LINE:COLUMN: MESSAGE. Exits with 1 when there is an error;
    with --strict also when there is a warning.
    """
    path = config_path(given)
    config: Config | None = None
    try:
        config = load(path, os.environ)
        problems = list(config.warnings)
    except ConfigError as error:
        problems = error.problems
    bad = [each for each in problems if strict or each.severity == "error"]
    if as_json:
        print_json({"ok": not bad, "config": str(path), "problems": list(map(asdict, problems))})
    else:
        _print(path, config, problems)
    if bad:
        raise Failed(_count(problems))


def _print(path: Path, config: Config | None, problems: list[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem))
    if config is not None:
        catalog = config.catalog
        found = (
            f"{_many(len(catalog.upstreams), 'upstream')}, {_many(len(catalog.models), 'model')},"
            f" {_many(len(catalog.plans), 'plan')}"
        )
        click.echo(f"{path}: valid: {found}", err=True)


def _count(problems: list[Problem]) -> str:
    errors = sum(each.severity == "error" for each in problems)
    parts = [_many(errors, "error"), _many(len(problems) - errors, "warning")]
    return ", ".join(part for part in parts if not part.startswith("0 "))


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
