"""``users``: accounts, their plans and passwords."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kurolproxy.cli.failure import Failed
from kurolproxy.cli.links import make_link
from kurolproxy.cli.output import json_option, print_facts, print_rows
from kurolproxy.cli.session import call
from kurolproxy.storage.passwords import BadPassword, hash_password

_COLUMNS = ("email", "name", "role", "plan", "active", "keys")
_email = click.argument("email")


@click.group()
def users() -> None:
    """Make and change accounts."""


@users.command()
@click.option("--email", required=True)
@click.option("--plan", required=True, help="One of `kurolproxy plans`.")
@click.option("--name", default="", help="The name that is displayed.")
@click.option("--role", type=click.Choice(["user", "admin"]), default="user", show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read a password from standard input.")
@json_option
@click.pass_obj
def create(
    given: Path | None,
    *,
    email: str,
    plan: str,
    name: str,
    role: str,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Make an account."""
    account = {"email": email, "plan": plan, "name": name, "role": role}
    if password_stdin:
        account["password_hash"] = _read_password()
    print_facts(call(given, "users.create", account), as_json=as_json)


@users.command(name="list")
@json_option
@click.pass_obj
def list_(given: Path | None, *, as_json: bool) -> None:
    """List all accounts."""
    rows = call(given, "users.list", {})
    print_rows(rows, _COLUMNS, as_json=as_json, empty="There is no account yet.")


@users.command()
@_email
@click.argument("plan")
@json_option
@click.pass_obj
def set_plan(given: Path | None, *, email: str, plan: str, as_json: bool) -> None:
    """Move the account of EMAIL to PLAN, from its next request on."""
    print_facts(call(given, "users.set_plan", {"email": email, "plan": plan}), as_json=as_json)


@users.command()
@_email
@click.argument("role", type=click.Choice(["user", "admin"]))
@json_option
@click.pass_obj
def set_role(given: Path | None, *, email: str, role: str, as_json: bool) -> None:
    """Make the account of EMAIL an admin, or a user again; one active admin is kept."""
    print_facts(call(given, "users.set_role", {"email": email, "role": role}), as_json=as_json)


@users.command()
@_email
@json_option
@click.pass_obj
def disable(given: Path | None, *, email: str, as_json: bool) -> None:
    """Make all keys of the account of EMAIL invalid."""
    print_facts(call(given, "users.disable", {"email": email}), as_json=as_json)


@users.command()
@_email
@json_option
@click.pass_obj
def enable(given: Path | None, *, email: str, as_json: bool) -> None:
    """Let a disabled account call again."""
    print_facts(call(given, "users.enable", {"email": email}), as_json=as_json)


@users.command()
@_email
@json_option
@click.pass_obj
def delete(given: Path | None, *, email: str, as_json: bool) -> None:
    """Delete the account of EMAIL and its keys; its usage stays in the ledger."""
    print_facts(call(given, "users.delete", {"email": email}), as_json=as_json)


@users.command()
@_email
@click.option("--password-stdin", is_flag=True, help="Read it from standard input.")
@json_option
@click.pass_obj
def reset_password(given: Path | None, *, email: str, password_stdin: bool, as_json: bool) -> None:
    """Give the account of EMAIL another password; asks for it on a terminal."""
    hashed = _read_password() if password_stdin else _ask_password()
    wanted: dict[str, Any] = {"email": email, "password_hash": hashed}
    print_facts(call(given, "users.reset_password", wanted), as_json=as_json)


@users.command()
@_email
@json_option
@click.pass_obj
def password_link(given: Path | None, *, email: str, as_json: bool) -> None:
    """Make a link by which the owner of EMAIL chooses a password, within 24 hours.

    It is good for one use; another one takes its place.
    """
    _print_link(given, {"kind": "password", "email": email}, as_json=as_json)


@users.command()
@click.option("--plan", required=True, help="One of `kurolproxy plans`.")
@click.option("--email", help="The only address that it is good for; otherwise any.")
@click.option("--role", type=click.Choice(["user", "admin"]), default="user", show_default=True)
@json_option
@click.pass_obj
def invite(given: Path | None, *, plan: str, email: str | None, role: str, as_json: bool) -> None:
    """Make a link by which somebody makes an account, within 7 days; it is good for one.

    Sign-up must not be closed: set signup = "invite" in [dashboard].
    """
    wanted = {"kind": "invite", "plan": plan, "role": role}
    _print_link(given, wanted if email is None else {**wanted, "email": email}, as_json=as_json)


@users.command()
@json_option
@click.pass_obj
def setup_link(given: Path | None, *, as_json: bool) -> None:
    """Make a link by which somebody makes an account for an admin, within 24 hours.

    It is good for one use, also when there is an admin already.
    """
    _print_link(given, {"kind": "setup"}, as_json=as_json)


def _print_link(given: Path | None, wanted: Mapping[str, Any], *, as_json: bool) -> None:
    print_facts(make_link(given, wanted), as_json=as_json)


def _read_password() -> str:
    """Return the hash of the password on the first line of standard input."""
    return _hashed(sys.stdin.readline().rstrip("\r\n"))


def _ask_password() -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on: use --password-stdin")
    return _hashed(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _hashed(password: str) -> str:
    try:
        return hash_password(password)
    except BadPassword as error:
        raise Failed(str(error)) from error
