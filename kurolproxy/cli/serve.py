"""``serve``: run the gateway until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import uvloop

from kurolproxy import __version__
from kurolproxy.app import Gateway, Surroundings
from kurolproxy.cli.failure import Refused
from kurolproxy.cli.running import Ending, allow_descriptors, start
from kurolproxy.cli.selfcheck import check_installation
from kurolproxy.cli.site import config_path, load_config
from kurolproxy.config.model import Config
from kurolproxy.config.problems import ConfigError
from kurolproxy.server.listeners import BadSocket, Inherited, inherited
from kurolproxy.server.memory import memory_limit
from kurolproxy.server.notify import Notifier
from kurolproxy.storage.errors import StorageError
from kurolproxy.storage.links import LINK_PATH


@click.command()
@click.option("--allow-root", is_flag=True, help="Run as root, which nothing here needs.")
@click.option(
    "--allow-pth",
    metavar="NAME",
    multiple=True,
    help="Start although this .pth file runs code whenever Python starts.",
)
@click.pass_obj
def serve(given: Path | None, *, allow_root: bool, allow_pth: tuple[str, ...]) -> None:
    """Run the gateway.

    Logs go to standard output, a JSON object a line. SIGTERM and SIGINT end it: running
    calls come to their end first, at most drain_timeout_s; a second signal ends it at
    once. SIGHUP reads the configuration again.
    """
    if os.geteuid() == 0 and not allow_root:
        raise Refused(
            "serve does not run as root: start it as a user of its own, as the systemd unit"
            " does, or say --allow-root (in a container)"
        )
    check_installation(allow_pth)
    read = partial(load_config, given)
    config = _first_config(given, read)
    sockets = _sockets()
    logging.basicConfig(
        level=config.log.level.upper(), format="%(levelname)s %(name)s: %(message)s"
    )
    notifier = Notifier.of(os.environ, os.getpid())
    allow_descriptors()
    around = Surroundings(sockets, notifier, read, memory_limit())
    uvloop.run(_serve(config, around))


def _first_config(given: Path | None, read: Callable[[], Config]) -> Config:
    try:
        config = read()
    except ConfigError as error:
        click.echo("\n".join(map(str, error.problems)), err=True)
        raise Refused(
            f"{config_path(given)} cannot be used: see above, and `kurolproxy check`"
        ) from error
    for warning in config.warnings:
        click.echo(str(warning), err=True)
    return config


def _sockets() -> Inherited:
    try:
        return inherited(os.environ, os.getpid())
    except BadSocket as error:
        raise Refused(f"the service manager handed over what is no listener: {error}") from error


async def _serve(config: Config, around: Surroundings) -> None:
    # First: a signal that comes while we start must be understood, too.
    ending = Ending()
    again = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again.set)
    gateway = Gateway(config, around=around)
    await start(gateway)
    try:
        _log(
            gateway,
            "started",
            version=__version__,
            pid=os.getpid(),
            listen=list(map(str, gateway.addresses)),
            metrics=None if gateway.metrics_address is None else str(gateway.metrics_address),
            state_dir=config.server.state_dir,
        )
        await offer_setup(gateway, at_terminal=sys.stderr.isatty())
        reloading = asyncio.create_task(_reload_whenever(again, gateway))
        await ending.asked.wait()
        reloading.cancel()
        _log(gateway, "stopping", calls=len(gateway.state.deadlines))
        await gateway.leave(ending.urged)
    finally:
        await gateway.stop()
        around.notifier.close()


async def offer_setup(gateway: Gateway, *, at_terminal: bool) -> None:
    """Help whoever starts a gateway without an admin to become one.

    Args:
        at_terminal: somebody reads standard error, and nobody keeps it.
    """
    links = gateway.accounts.links
    try:
        if not gateway.config.dashboard.enabled or not await links.admin_wanted():
            return
        if at_terminal:
            _, token = await links.create("setup", first=True)
            link = f"{gateway.public_url}{LINK_PATH}{token}"
            text = f"\nThere is no admin yet. Within 24 hours, this link makes one:\n  {link}\n"
            click.echo(text, err=True)
            return
    except StorageError as error:
        # Calls are served without it.
        logging.getLogger(__name__).warning("no set-up link could be made: %s", error)
    # A log is read by others, too: no link in there.
    _log(gateway, "no_admin", hint="`kurolproxy users setup-link` makes a link to set up one")


async def _reload_whenever(asked: asyncio.Event, gateway: Gateway) -> None:
    assert gateway.reloader is not None
    while True:
        await asked.wait()
        asked.clear()
        try:
            await gateway.reloader.reload()
        except Exception:  # the outermost boundary of a reload
            logging.getLogger(__name__).exception("the configuration could not be read again")


def _log(gateway: Gateway, name: str, **fields: object) -> None:
    gateway.state.log.event(time.time(), name, **fields)
