"""``status``: what is running."""

from __future__ import annotations

from pathlib import Path

import click

from kurolproxy.cli.control import ControlClient
from kurolproxy.cli.failure import CannotConnect
from kurolproxy.cli.output import json_option, print_facts, print_json
from kurolproxy.cli.site import load_without_secrets


@click.command()
@json_option
@click.pass_obj
def status(given: Path | None, *, as_json: bool) -> None:
    """Show what is running. Exits with 3 when nothing is."""
    state_dir = load_without_secrets(given).server.state_path
    client = ControlClient.connect(state_dir)
    if client is None:
        if as_json:
            print_json({"running": False, "state_dir": str(state_dir)})
        raise CannotConnect(f"no gateway runs on {state_dir}")
    with client:
        found = {"running": True, "state_dir": str(state_dir), **client.call("status", {})}
    if not as_json:
        # A number that is a name: without separators.
        found["pid"] = str(found["pid"])
    print_facts(found, as_json=as_json)
