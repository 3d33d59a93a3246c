"""``connect``: the settings that a tool needs to call this gateway."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, cast

import click

from kurolproxy.cli.failure import Failed
from kurolproxy.cli.output import json_option, print_json, print_rows, printable
from kurolproxy.cli.site import config_path, load_without_secrets, local_url
from kurolproxy.config.model import Config
from kurolproxy.connect.tools import TOOLS, Tool
from kurolproxy.connect.wanted import ModelFacts, Shell, Step, Wanted, facts_of
from kurolproxy.policy.catalog import Catalog

_COLUMNS: Final = ("client", "name", "protocols")
_LIST: Final = "list"


@click.command()
@click.argument("client", default=_LIST)
@click.option("--model", metavar="ID", help="The model; otherwise the first of the configuration.")
@click.option("--small-model", metavar="ID", help="For what the tool asks behind the conversation.")
@click.option(
    "--key",
    metavar="KEY",
    help="Written into the texts; otherwise they read $KUROL_API_KEY when they are used.",
)
@click.option(
    "--base-url",
    metavar="URL",
    envvar="KUROL_BASE_URL",
    show_envvar=True,
    help="Of the gateway; otherwise its `public_url`.",
)
@click.option(
    "--shell",
    type=click.Choice(["bash", "powershell"]),
    default="bash",
    show_default=True,
    help="What commands are written for.",
)
@json_option
@click.pass_obj
def connect(
    given: Path | None,
    *,
    client: str,
    model: str | None,
    small_model: str | None,
    key: str | None,
    base_url: str | None,
    shell: str,
    as_json: bool,
) -> None:
    """Print the settings of CLIENT; without one, or with `list`, the tools that are known."""
    if client == _LIST:
        rows = [_row(each) for each in TOOLS.values()]
        print_rows(rows, _COLUMNS, as_json=as_json)
        return
    tool = TOOLS.get(client)
    if tool is None:
        known = ", ".join(TOOLS)
        raise click.UsageError(f"{client[:60]!r} is no tool that is known; these are: {known}")
    config = _configured(given)
    # With an address given it is another gateway, which may have other models.
    elsewhere = config is None or base_url is not None
    asked = _model(config, model, elsewhere=elsewhere)
    small = asked if small_model is None else _model(config, small_model, elsewhere=elsewhere)
    url = base_url or (config.server.public_url if config else "") or local_url(given)
    try:
        wanted = Wanted(url, asked, small, key, cast("Shell", shell))
    except ValueError as error:
        raise Failed(str(error)) from error
    steps = tool.steps(wanted)
    if as_json:
        print_json({"tool": tool.slug, "base_url": wanted.base_url, "steps": _facts(steps)})
    else:
        click.echo("\n\n".join(map(_shown, steps)))


def _configured(given: Path | None) -> Config | None:
    """Return the configuration; None where there is none.

    Who connects a tool may sit at another machine than the gateway's.
    """
    return load_without_secrets(given) if config_path(given).exists() else None


def _model(config: Config | None, name: str | None, *, elsewhere: bool) -> ModelFacts:
    """Return what is known of a model, by its id or an alias; it stays as it was written."""
    catalog = config.catalog if config is not None else Catalog()
    if name is None:
        first = next((each for each in catalog.models.values() if each.active), None)
        if first is None:
            raise click.UsageError("there is no configuration with a model: say --model ID")
        return facts_of(first)
    found = catalog.find(name)
    if found is not None:
        return replace(facts_of(found), id=name)
    if elsewhere:
        return ModelFacts(name)
    raise Failed(f"there is no model {name[:60]!r}; `kurolproxy models list` shows them")


def _row(tool: Tool) -> dict[str, Any]:
    return {"client": tool.slug, "name": tool.name, "protocols": list(tool.protocols)}


def _facts(steps: list[Step]) -> list[dict[str, Any]]:
    return [asdict(step) for step in steps]


def _shown(step: Step) -> str:
    """Return a step as people read it: comments around a text that can be copied."""
    head = [f"# {step.title}: {step.where}"]
    if step.note:
        head.append(f"# {step.note}")
    return printable("\n".join([*head, step.text]))
