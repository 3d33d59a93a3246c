"""``models``: what can be called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kurolproxy.cli.failure import Failed
from kurolproxy.cli.output import json_option, print_rows, printable
from kurolproxy.cli.session import catalog_facts
from kurolproxy.cli.site import load_config
from kurolproxy.config.problems import ConfigError

if TYPE_CHECKING:
    from kurolproxy.cli.trial import Trial

_COLUMNS = ("id", "aliases", "active", "plans", "context_window", "max_output_tokens", "targets")


_TRIED = ("upstream", "model", "credential", "protocol", "status", "ms", "result")


@click.group()
def models() -> None:
    """List the models, and try one."""


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


@models.command()
@click.argument("model")
@json_option
@click.pass_obj
def test(given: Path | None, *, model: str, as_json: bool) -> None:
    """Make one tiny call (at most 16 tokens of answer) of MODEL in each way to it.

    Each target is called with each credential, as the file names them, past the gateway.
    Exits with 1 when one of them fails.
    """
    # Loaded here: listing models does without the client of the upstreams.
    from kurolproxy.cli.trial import call_all, candidates

    try:
        config = load_config(given)
    except ConfigError as error:
        raise Failed(f"the configuration cannot be used:\n{error}") from error
    found = config.catalog.known(model)
    if found is None:
        raise Failed(f"there is no model {model[:60]!r}; `kurolproxy models list` shows them")
    trials = call_all(config, candidates(found))
    rows = [_row(each) for each in trials]
    print_rows(rows, _TRIED, as_json=as_json)
    failed = [each for each in trials if each.problem]
    for trial in failed:
        way = f"{trial.upstream}/{trial.model}"
        click.echo(f"{way}: {printable(f'{trial.problem} {trial.remedy}')}", err=True)
    if failed:
        raise Failed(f"{len(failed)} of {len(trials)} ways to {found.id} fail")


def _row(trial: Trial) -> dict[str, Any]:
    facts = asdict(trial)
    facts["ms"] = round(facts.pop("seconds") * 1_000)
    return {**facts, "result": trial.problem or "answers"}
