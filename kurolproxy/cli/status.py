"""``status``: what is running."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kurolproxy.cli.control import ControlClient
from kurolproxy.cli.failure import CannotConnect
from kurolproxy.cli.output import json_option, print_facts, print_json, table
from kurolproxy.cli.site import load_without_secrets

_COLUMNS = ("upstream", "state", "running", "max_concurrent")


@click.command()
@json_option
@click.pass_obj
def status(given: Path | None, *, as_json: bool) -> None:
    """Show what is running, and how its upstreams are. Exits with 3 when nothing is."""
    state_dir = load_without_secrets(given).server.state_path
    client = ControlClient.connect(state_dir)
    if client is None:
        if as_json:
            print_json({"running": False, "state_dir": str(state_dir)})
        raise CannotConnect(f"no gateway runs on {state_dir}")
    with client:
        found = {"running": True, "state_dir": str(state_dir), **client.call("status", {})}
    if as_json:
        print_json(found)
        return
    # A gateway of an earlier version says nothing of its upstreams.
    upstreams = found.pop("upstreams", [])
    # A number that is a name: without separators.
    found["pid"] = str(found["pid"])
    print_facts(found, as_json=False)
    if upstreams:
        click.echo()
        click.echo(table(map(_row, upstreams), _COLUMNS))


def _row(upstream: Mapping[str, Any]) -> dict[str, Any]:
    told = ["open" if upstream["up"] else "down", *map(_rest, upstream["resting"])]
    return {**upstream, "upstream": upstream["name"], "state": "; ".join(told)}


def _rest(rest: Mapping[str, Any]) -> str:
    """Return what rests: a credential, for one model or all, or a model with all of them."""
    which = "" if rest["credential"] is None else f"credential {rest['credential']}"
    model = "" if rest["model"] is None else rest["model"]
    what = " for ".join(each for each in (which, model) if each)
    whose = rest.get("account")
    whom = "" if whose is None else f" for account {whose} alone"
    return f"{what} rests{whom} for {rest['seconds']:.0f} s: {rest['why']}"
