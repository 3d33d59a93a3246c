"""Links to the dashboard that the command line makes, and where they lead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kurolproxy.cli.control import ControlClient
from kurolproxy.cli.failure import Failed
from kurolproxy.cli.session import session
from kurolproxy.cli.site import load_without_secrets, url_of
from kurolproxy.config.addresses import split_address
from kurolproxy.config.model import Config
from kurolproxy.storage.links import LINK_PATH


def make_link(given: Path | None, args: Mapping[str, Any]) -> dict[str, Any]:
    """Make a link, and return what is to be told of it: ``url`` is among it.

    Args:
        given: the configuration file, as ``--config`` names it.
        args: of ``links.create``.

    Raises:
        Failed: it was refused, or nobody could open the link.
    """
    config = load_without_secrets(given)
    if not config.dashboard.enabled:
        raise Failed("the dashboard is switched off: set enabled = true in [dashboard]")
    with session(config) as call:
        told: dict[str, Any] = call("links.create", args)
    token = told.pop("token")
    return {"url": f"{_base(config)}{LINK_PATH}{token}", **told}


def _base(config: Config) -> str:
    """Return how people call the gateway: by its public URL, else at its first address."""
    server = config.server
    if server.public_url != f"http://{server.listen[0]}":
        return server.public_url
    client = ControlClient.connect(server.state_path)
    if client is None:
        return url_of(server.addresses[0])
    # It may listen at a port that it was given, or that was free.
    with client:
        addresses: list[str] = client.call("status", {})["addresses"]
    return url_of(split_address(addresses[0]))
