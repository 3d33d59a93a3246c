"""``doctor``: what is wrong with an installation, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from kurolproxy.cli import checks, checks_ledger, checks_upstreams
from kurolproxy.cli.checks import Finding, Machine, Patient
from kurolproxy.cli.control import ControlClient
from kurolproxy.cli.failure import Failed
from kurolproxy.cli.output import json_option, print_json, printable
from kurolproxy.cli.site import config_path
from kurolproxy.config.load import load
from kurolproxy.config.problems import ConfigError

CHECKS: Final[Mapping[str, Callable[[Patient], Iterable[Finding]]]] = {
    "configuration": checks.configuration,
    "plans": checks.models_of_plans,
    "limits": checks.limits,
    "disk": checks.disk,
    "state directory": checks.state_directory,
    "gateway": checks.gateway,
    "ledger": checks_ledger.ledger,
    "writing": checks_ledger.writing,
    "journal": checks_ledger.journal,
    "clock": checks_ledger.clock,
    "accounts": checks_ledger.plans_of_accounts,
    "upstreams": checks_upstreams.upstreams,
    "calls": checks_upstreams.calls,
}
"""Name -> check. Only the first is made while the configuration cannot be used."""


class Named(NamedTuple):
    """A finding and the check that made it."""

    check: str
    finding: Finding


@click.command()
@click.option(
    "--call",
    is_flag=True,
    help="Make one tiny call (at most 16 tokens of answer) with each credential of each upstream.",
)
@json_option
@click.pass_obj
def doctor(given: Path | None, *, call: bool, as_json: bool) -> None:
    """Look for what is wrong: configuration, clock, disk, state directory, ledger, upstreams.

    Says what to do about everything it finds, and changes nothing. Each upstream is
    connected to; only with --call it is asked something. Exits with 1 when there is an error.
    """
    found = list(examine(replace(patient_of(given), call=call)))
    errors = sum(each.finding.level == "error" for each in found)
    if as_json:
        facts = [{"check": each.check, **each.finding._asdict()} for each in found]
        print_json({"ok": not errors, "checks": facts})
    else:
        _print(found)
    if errors:
        raise Failed("1 error" if errors == 1 else f"{errors} errors")


def examine(patient: Patient) -> Iterator[Named]:
    """Make all checks."""
    for name, check in CHECKS.items():
        for finding in check(patient):
            yield Named(name, finding)
        if patient.config is None:
            return


def patient_of(given: Path | None, machine: Machine | None = None) -> Patient:
    """Return what there is to look at.

    Args:
        given: the configuration file, as ``--config`` names it.
    """
    path = config_path(given)
    known: dict[str, Any] = {"machine": machine or Machine()}
    try:
        config = load(path, os.environ)
        problems = list(config.warnings)
    except ConfigError as error:
        problems = error.problems
        try:
            # The vendors' credentials are the service's: others need not have them.
            config = load(path, os.environ, secrets=False)
        except ConfigError:
            return Patient(path, None, problems, **known)
        known["only_secrets"] = True
    try:
        client = ControlClient.connect(config.server.state_path)
        if client is not None:
            with client:
                known["status"] = client.call("status", {})
    except Failed as error:
        known["refused"] = error.message
    return Patient(path, config, problems, **known)


def _print(found: Iterable[Named]) -> None:
    for name, finding in found:
        click.echo(f"{finding.level:<7}  {name:<15}  {printable(finding.found)}")
        if finding.remedy:
            click.echo(f"{'':<26}-> {printable(finding.remedy)}")
