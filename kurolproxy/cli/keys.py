"""``keys``: make, list, revoke and rotate API keys."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from kurolproxy.cli.output import json_option, print_facts, print_json, print_rows
from kurolproxy.cli.session import call

_COLUMNS = ("id", "email", "label", "key", "status", "expires_at", "narrowed_to")


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return the unix seconds of a day (its first moment) or a time; without a zone it is UTC."""
    if value is None:
        return None
    try:
        when = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter("is no date, as 2030-12-31 or 2030-12-31T18:00Z are") from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _patterns(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    """Return what stands between commas."""
    if value is None:
        return None
    found = [part.strip() for part in value.split(",")]
    if not all(found):
        raise click.BadParameter("needs a pattern on each side of a comma")
    return found


@click.group()
def keys() -> None:
    """Make, list, revoke and rotate API keys."""


@keys.command()
@click.option("--email", required=True, help="Whose account it is for.")
@click.option("--label", default="", help="What it is for, in your words.")
@click.option(
    "--models", metavar="PATTERN,...", callback=_patterns, help="Narrow the plan's models."
)
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Narrow the plan's limit.")
@click.option("--daily-tokens", type=click.IntRange(min=1), help="Narrow the plan's limit.")
@click.option(
    "--expires",
    "expires_at",
    metavar="DATE",
    callback=_moment,
    help="From when on it is invalid: a day or a time of ISO 8601, UTC.",
)
@click.option("--secret-stdin", is_flag=True, help="Read the key itself from standard input.")
@click.option("--admin", is_flag=True, help="A key for the management API; it calls no model.")
@json_option
@click.pass_obj
def create(given: Path | None, /, *, secret_stdin: bool, as_json: bool, **wanted: Any) -> None:
    """Make a key. It is printed once, now."""
    if secret_stdin:
        wanted["secret"] = sys.stdin.readline().strip()
    _print_secret(call(given, "keys.create", wanted), as_json=as_json)


@keys.command(name="list")
@click.option("--email", help="Of this account only.")
@json_option
@click.pass_obj
def list_(given: Path | None, *, email: str | None, as_json: bool) -> None:
    """List keys, revoked and expired ones too; never their secrets."""
    rows = call(given, "keys.list", {"email": email})
    shown = rows if as_json else list(map(_shown, rows))
    print_rows(shown, _COLUMNS, as_json=as_json, empty="There is no key yet.")


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--now", is_flag=True, help="End its running streams, too.")
@json_option
@click.pass_obj
def revoke(given: Path | None, *, key_id: str, now: bool, as_json: bool) -> None:
    """Make the key ID invalid for ever, from the next request on."""
    revoked = call(given, "keys.revoke", {"id": key_id, "now": now})
    if as_json:
        print_json(revoked)
        return
    ended = f"; calls ended: {revoked['ended_calls']}" if now else ""
    click.echo(f"{revoked['id']} of {revoked['email']} is revoked{ended}")


@keys.command()
@click.argument("key_id", metavar="ID")
@json_option
@click.pass_obj
def rotate(given: Path | None, *, key_id: str, as_json: bool) -> None:
    """Give the key ID another secret. It is printed once, now; the old one is invalid."""
    _print_secret(call(given, "keys.rotate", {"id": key_id}), as_json=as_json)


def _print_secret(made: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    shown = {"key": made["key"], "id": made["id"], "email": made["email"], "label": made["label"]}
    if made["expires_at"] is not None:
        shown["expires_at"] = made["expires_at"]
    print_facts(shown, as_json=False)
    click.echo("The key is shown this once only.", err=True)


def _shown(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return a key as the table has it."""
    limits = [
        ", ".join(key["models"] or ()),
        f"{key['requests_per_minute']:,} requests/min" if key["requests_per_minute"] else "",
        f"{key['daily_tokens']:,} tokens/day" if key["daily_tokens"] else "",
        "management only" if key["admin"] else "",
    ]
    return {
        **key,
        "key": f"{key['prefix']}...{key['last_four']}",
        "narrowed_to": "; ".join(filter(None, limits)),
    }
