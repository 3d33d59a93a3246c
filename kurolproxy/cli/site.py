"""Where an installation is: its configuration file and its state directory."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import kurolproxy
from kurolproxy.cli.failure import Failed
from kurolproxy.config.addresses import Address
from kurolproxy.config.load import load
from kurolproxy.config.model import Config, Server
from kurolproxy.config.problems import ConfigError

_INSTALLED: Final = Path("/etc/kurolproxy/kurolproxy.toml")


def config_path(given: Path | None) -> Path:
    """Return the configuration file to use.

    Args:
        given: what ``--config`` or ``KUROL_CONFIG`` says; None: look in the usual places.
    """
    if given is not None:
        return given
    checkout = Path(kurolproxy.__file__).resolve().parent.parent
    mine = checkout / "config" / "kurolproxy.toml"
    if mine.is_file() or ((checkout / "setup.cfg").is_file() and not _INSTALLED.exists()):
        return mine
    return _INSTALLED


def load_config(given: Path | None) -> Config:
    """Load the configuration with its secrets, as ``serve`` needs it.

    Raises:
        ConfigError: with every problem of the file.
    """
    return load(config_path(given), os.environ)


def load_without_secrets(given: Path | None) -> Config:
    """Load the configuration for a verb that calls no upstream.

    The service's manager hands the vendors' credentials to the service alone: whoever
    types a command does not have them, and does not need them.

    Raises:
        Failed: with every other problem of the file.
    """
    try:
        return load(config_path(given), os.environ, secrets=False)
    except ConfigError as error:
        raise Failed("the configuration cannot be used:\n" + str(error)) from error


def local_url(given: Path | None) -> str:
    """Return where the gateway of this machine is called, as its configuration says.

    Without a configuration that can be read it is the default address.
    """
    try:
        server = load_without_secrets(given).server
    except Failed:
        server = Server()
    host, port = server.addresses[0]
    return url_of(Address(host, port or Server().addresses[0].port))


def url_of(address: Address) -> str:
    """Return how somebody on this machine calls who listens at an address."""
    return f"http://{Address(_called(address.host), address.port)}"


def _called(host: str) -> str:
    """Return the host to call for a host to listen at: every address is not one to call."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
