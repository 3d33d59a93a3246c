"""``serve``: run the gateway until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path

import click
import uvloop

from kurolproxy import __version__
from kurolproxy.app import Gateway
from kurolproxy.cli.failure import Refused
from kurolproxy.cli.running import ENDING, ended_by, start
from kurolproxy.cli.site import config_path, load_config
from kurolproxy.config.model import Config
from kurolproxy.config.problems import ConfigError


@click.command()
@click.option("--allow-root", is_flag=True, help="Run as root, which nothing here needs.")
@click.pass_obj
def serve(given: Path | None, *, allow_root: bool) -> None:
    """Run the gateway.

    Logs go to standard output, a JSON object a line. SIGTERM and SIGINT end it: running
    calls are settled first.
    """
    if os.geteuid() == 0 and not allow_root:
        raise Refused(
            "serve does not run as root: start it as a user of its own, as the systemd unit"
            " does, or say --allow-root (in a container)"
        )
    try:
        config = load_config(given)
    except ConfigError as error:
        click.echo("\n".join(map(str, error.problems)), err=True)
        raise Refused(
            f"{config_path(given)} cannot be used: see above, and `kurolproxy check`"
        ) from error
    for warning in config.warnings:
        click.echo(str(warning), err=True)
    logging.basicConfig(
        level=config.log.level.upper(), format="%(levelname)s %(name)s: %(message)s"
    )
    uvloop.run(_serve(config))


async def _serve(config: Config) -> None:
    # First: a signal that comes while we start must end us properly, too.
    end = ended_by(ENDING)
    gateway = Gateway(config)
    await start(gateway)
    try:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _cannot_reload)
        _log(
            gateway,
            "started",
            version=__version__,
            pid=os.getpid(),
            listen=list(map(str, gateway.addresses)),
            metrics=None if gateway.metrics_address is None else str(gateway.metrics_address),
            state_dir=config.server.state_dir,
        )
        await end.wait()
        _log(gateway, "stopping")
    finally:
        await gateway.stop()


def _log(gateway: Gateway, name: str, **fields: object) -> None:
    gateway.state.log.event(time.time(), name, **fields)


def _cannot_reload() -> None:
    # The signal's default would end us, and every stream with us.
    print(
        "kurolproxy: SIGHUP is ignored: restart to take over a changed configuration",
        file=sys.stderr,
        flush=True,
    )
