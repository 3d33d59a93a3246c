"""``reload``: have the gateway that runs read its configuration again."""

from __future__ import annotations

from pathlib import Path

import click

from kurolproxy.cli.control import ControlClient
from kurolproxy.cli.failure import CannotConnect, Failed
from kurolproxy.cli.output import json_option, print_json, printable
from kurolproxy.cli.site import load_without_secrets


@click.command()
@json_option
@click.pass_obj
def reload(given: Path | None, *, as_json: bool) -> None:
    """Have the gateway read its configuration again, as SIGHUP does.

    Calls that run keep the one they began with. A file with a problem changes nothing: the
    problems are printed, and it exits with 1. Exits with 3 when no gateway runs.
    """
    state_dir = load_without_secrets(given).server.state_path
    client = ControlClient.connect(state_dir)
    if client is None:
        raise CannotConnect(f"no gateway runs on {state_dir}: the next start reads the file")
    with client:
        found = client.call("reload", {})
    if as_json:
        print_json(found)
    elif found["ok"]:
        click.echo(f"The configuration was read again; models: {found['models']}.")
        for warning in found["warnings"]:
            click.echo(printable(warning))
        if found["needs_restart"]:
            click.echo(f"Takes effect at the next start: {', '.join(found['needs_restart'])}.")
    if not found["ok"]:
        told = "\n".join(printable(each) for each in found["problems"])
        raise Failed(f"the gateway keeps the configuration that it has:\n{told}")
