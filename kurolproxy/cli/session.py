"""How a verb reaches accounts, keys and the ledger: through the gateway, or directly."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from kurolproxy.cli.beside import beside
from kurolproxy.cli.control import ControlClient
from kurolproxy.cli.failure import Failed
from kurolproxy.cli.site import load_without_secrets
from kurolproxy.config.model import Config
from kurolproxy.policy.admission import Admission
from kurolproxy.policy.keys import KeyTable
from kurolproxy.server.explain import Explainer, Moment
from kurolproxy.server.facts import model_facts, plan_facts, usage_facts
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import StorageError, StoreError
from kurolproxy.storage.journal import FOLDER
from kurolproxy.storage.lock import StateDirectory, drop_root_to
from kurolproxy.storage.people import People
from kurolproxy.storage.recovery import recover
from kurolproxy.storage.reports import UsageReader
from kurolproxy.storage.restoring import restore

Call = Callable[[str, Mapping[str, Any]], Any]
"""(verb, arguments) -> result; raises ``Failed``."""


def call(given: Path | None, verb: str, args: Mapping[str, Any]) -> Any:
    """Carry out one verb, through the gateway while it runs.

    Args:
        given: the configuration file, as ``--config`` names it.

    Raises:
        Failed: it was refused, or state directory or database cannot be used.
    """
    with session(load_without_secrets(given)) as found:
        return found(verb, args)


def catalog_facts(given: Path | None, verb: Literal["plans.list", "models.list"]) -> Any:
    """Return what the catalog says: that of the gateway while it runs, else the file's."""
    config = load_without_secrets(given)
    client = ControlClient.connect(config.server.state_path)
    if client is None:
        return (plan_facts if verb == "plans.list" else model_facts)(config.catalog)
    with client:
        return client.call(verb, {})


@contextmanager
def session(config: Config) -> Iterator[Call]:
    """Connect to the gateway; when none runs, take its lock and open its database.

    A process that is neither running nor gone (a gateway that starts, another verb) is
    waited for, at most 5 s.
    """
    directory = StateDirectory(config.server.state_path)
    with beside(directory, lambda: _give_up_root(config, directory)) as client:
        if client is not None:
            yield client.call
        else:
            yield lambda verb, args: _offline(config, directory, verb, args)


def _give_up_root(config: Config, directory: StateDirectory) -> None:
    """Become the owner of the state directory, before a file is created there.

    Where there is none yet, it gets the owner of the folder that it is created in.
    """
    if os.geteuid() != 0:
        return
    path = directory.path
    if not path.exists():
        try:
            path.mkdir(mode=0o700, parents=True)
            folder = path.parent.stat()
            os.chown(path, folder.st_uid, folder.st_gid)
        except OSError as error:
            raise Failed(f"{path} cannot be created: {error.strerror}") from error
    if directory.owner_uid != 0:
        _load_everything(config)
        drop_root_to(path)


def _load_everything(config: Config) -> None:
    """Carry out a verb on a database of its own, which is thrown away.

    Python loads parts of its library when they are first used. They may lie where only
    root can read (in root's home), and root is given up in a moment.
    """
    with TemporaryDirectory() as folder:
        _offline(config, StateDirectory(Path(folder)), "keys.list", {})


def _offline(config: Config, directory: StateDirectory, verb: str, args: Mapping[str, Any]) -> Any:
    try:
        return asyncio.run(_directly(config, directory, verb, args))
    except (StorageError, StoreError) as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"the journal cannot be used: {error.strerror}") from error


async def _directly(
    config: Config, directory: StateDirectory, verb: str, args: Mapping[str, Any]
) -> Any:
    database = await Database.open(directory.database_path)
    try:
        if verb == "usage.report":
            # What a gateway that was killed left is usage, too.
            await recover(database, directory.path / FOLDER)
            return await (await usage_facts(UsageReader(database), args)).whole()
        if verb == "explain":
            return await _explained(config, directory, database, args)
        store = AccountStore(
            database,
            max_keys=config.limits.max_keys_per_account,
            invites=lambda: config.dashboard.signup != "closed",
        )
        people = People(store, lambda: config.catalog.plans)
        if verb == "keys.revoke":
            # Nothing runs whose calls could be ended.
            args = {name: value for name, value in args.items() if name != "now"}
            return {**await people.call(verb, args), "ended_calls": 0}
        return await people.call(verb, args)
    finally:
        await database.close()


async def _explained(
    config: Config, directory: StateDirectory, database: Database, args: Mapping[str, Any]
) -> Any:
    """Explain a call as a gateway would that starts now: nothing runs, nothing rests."""
    keys = KeyTable()
    store = AccountStore(database, keys)
    await recover(database, directory.path / FOLDER)
    await store.load()
    admission = Admission(config.catalog, keys, contact=config.server.contact)
    moment = Moment(time.monotonic(), time.time(), datetime.now(UTC).date())
    await restore(admission, UsageReader(database), moment.today)
    return await Explainer(admission, store, lambda: config.catalog, lambda: moment).explain(args)
