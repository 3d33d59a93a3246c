"""The composition root: build every object once, start them, stop them."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from kurolproxy import __version__
from kurolproxy.config.addresses import Address
from kurolproxy.config.model import Config
from kurolproxy.errors import Overloaded, Unauthenticated
from kurolproxy.metrics import Metrics
from kurolproxy.policy.admission import Admission
from kurolproxy.policy.health import Health
from kurolproxy.policy.keys import KeyTable
from kurolproxy.server.body import BodyBudget, BodyLimits
from kurolproxy.server.control import Books, ControlServer, Desk
from kurolproxy.server.deadlines import SWEEP_S, Deadlines
from kurolproxy.server.explain import Explainer, Moment
from kurolproxy.server.facts import Pieces, usage_facts
from kurolproxy.server.failover import tell_health
from kurolproxy.server.hardening import GatewayServer
from kurolproxy.server.ids import Ids
from kurolproxy.server.lag import LoopLag
from kurolproxy.server.log import RequestLog
from kurolproxy.server.routes import MetricsRoutes, Routes
from kurolproxy.server.scrub import Scrubber
from kurolproxy.server.state import Clock, Settings, Setup, State
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.journal import FOLDER
from kurolproxy.storage.ledger import Ledger
from kurolproxy.storage.lock import StateDirectory
from kurolproxy.storage.people import People
from kurolproxy.storage.reports import UsageReader
from kurolproxy.storage.restoring import restore
from kurolproxy.storage.retention import keep
from kurolproxy.upstream.both import Upstreams

_BACKLOG = 4_096
_SHUTDOWN_S = 5.0


class Gateway:
    """One gateway, from its configuration to its listeners.

    Args:
        config: checked as a whole.
        log_fd: where the request log goes.
        clock: the three times; tests hand in others.

    Attributes:
        state: what the handlers see; there once ``start`` returned.
        database: where people and usage are; there once ``start`` returned.
        accounts: the people; there once ``start`` returned.
        addresses: host and port of each listener, the real port where 0 was asked for.
        metrics_address: of the metrics listener; None when there is none.
    """

    state: State
    accounts: AccountStore
    database: Database

    def __init__(self, config: Config, *, log_fd: int = 1, clock: Clock | None = None) -> None:
        self.config = config
        self.addresses: list[Address] = []
        self.metrics_address: Address | None = None
        self._server: GatewayServer | None = None
        self._log_fd = log_fd
        self._clock = clock or Clock()
        self._closing = AsyncExitStack()
        self._lag = LoopLag(SWEEP_S)
        self._told_days: tuple[date, ...] = ()

    async def start(self) -> None:
        """Open the state directory and the database, and serve.

        When it fails, whatever was opened is closed again.

        Raises:
            StateLocked: another process serves from the same state directory.
            StateError, StorageError: the directory or the database cannot be used.
            OSError: a listener's address cannot be had; the text names it.
        """
        # It would look through all that is loaded, again and again: a third of a start with
        # 100,000 keys.
        gc.disable()
        try:
            async with AsyncExitStack() as stack:
                await self._open(stack)
                self._closing = stack.pop_all()
            # What lives as long as the process is not looked at by the collector again.
            gc.collect()
            gc.freeze()
        finally:
            gc.enable()

    async def stop(self) -> None:
        """Close the listeners, let running calls settle, write what is pending, close all."""
        self.state.draining = True
        await self._end_calls()
        await self._closing.aclose()

    async def _end_calls(self) -> None:
        """Give running calls a while, then end the rest with an error in their own form."""
        deadlines = self.state.deadlines
        if not await deadlines.emptied(_SHUTDOWN_S):
            deadlines.end_all(lambda: Overloaded("The gateway is shutting down.", retry_after_s=1))

    def connections(self) -> list[web.RequestHandler]:
        """Return the client connections of the main listeners."""
        return self._server.connections if self._server is not None else []

    # --- building -----------------------------------------------------------------

    async def _open(self, stack: AsyncExitStack) -> None:
        config = self.config
        directory = StateDirectory(config.server.state_path).hold()
        stack.callback(directory.release)
        self.database = database = await Database.open(directory.database_path)
        stack.push_async_callback(database.close)
        keys = KeyTable()
        self.accounts = AccountStore(database, keys, max_keys=config.limits.max_keys_per_account)
        await self.accounts.load()
        usage = Ledger(
            database,
            directory.path / FOLDER,
            strict=config.ledger.durability == "strict",
        )
        await usage.open()
        usage.start()
        stack.push_async_callback(usage.close)
        self._keep_details(stack, usage)
        admission = Admission(config.catalog, keys, contact=config.server.contact)
        ignored = await restore(admission, UsageReader(database), self._clock.today())
        upstream = Upstreams()
        stack.push_async_callback(upstream.close)
        self.state = self._state(admission, usage, upstream)
        self._tell_missing_plans(keys)
        if ignored:
            days = ", ".join(map(str, ignored))
            self.state.log.event(self._clock.unix(), "ledger_has_later_days", ignored=days)
        self._register_gauges()
        self.state.deadlines.start()
        stack.callback(self.state.log.close)
        stack.callback(self.state.deadlines.stop)
        await self._listen(stack)
        await self._open_control(stack, UsageReader(database))

    async def _open_control(self, stack: AsyncExitStack, reader: UsageReader) -> None:
        """Serve the control socket, last: who finds it finds a gateway that works."""
        state, catalog = self.state, self.config.catalog

        async def report(args: Mapping[str, Any]) -> Pieces:
            whole = await state.usage.flush()
            return await usage_facts(reader, args, pending=0 if whole else state.usage.pending)

        def end_calls(key_id: str) -> int:
            return state.deadlines.end(key_id, lambda: Unauthenticated("This key was revoked."))

        people = People(self.accounts, lambda: catalog.plans)
        books = Books(state.usage.flush, state.usage.paused, lambda: state.usage.pending)
        explainer = Explainer(
            state.admission,
            self.accounts,
            lambda: state.setup.catalog,
            self._moment,
            state.health,
        )
        desk = Desk(
            self.status, report, lambda: catalog, end_calls, books, explain=explainer.explain
        )
        control = ControlServer(self.config.server.state_path, people, desk)
        await control.start()
        stack.push_async_callback(control.stop)

    def _moment(self) -> Moment:
        clock = self._clock
        return Moment(clock.now(), clock.unix(), clock.today())

    def _keep_details(self, stack: AsyncExitStack, usage: Ledger) -> None:
        """Delete rows of usage when they are old enough, beside everything else."""
        task = asyncio.create_task(
            keep(
                self.database,
                self.config.ledger.detail_days,
                self._clock.today,
                settled=usage.settled,
            )
        )

        async def end() -> None:
            task.cancel()
            await asyncio.wait({task})

        stack.push_async_callback(end)

    def status(self) -> dict[str, Any]:
        """Return what runs, as JSON values."""
        state = self.state
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(self._clock.unix() - state.started_unix, 1),
            "addresses": [str(each) for each in self.addresses],
            "metrics_address": str(self.metrics_address) if self.metrics_address else None,
            "connections": len(self.connections()),
            "requests_in_flight": len(state.deadlines),
            "streams_in_flight": state.metrics.streams_in_flight,
            "reserved_tokens": state.admission.reserved,
            "ledger_pending_rows": state.usage.pending,
            "ledger_oldest_pending_s": round(state.usage.oldest_pending_s, 1),
            "ledger_writable": state.usage.writable,
            "wal_bytes": state.usage.wal_bytes,
            "day": state.admission.day.isoformat(),
            "ignored_days": [each.isoformat() for each in state.admission.ignored_days],
            "draining": state.draining,
            "upstreams": state.health.facts(state.setup.catalog, self._clock.now()),
        }

    def _state(self, admission: Admission, usage: Ledger, upstream: Upstreams) -> State:
        config = self.config
        limits = config.limits
        log = RequestLog(config.log.requests, config.log.format, self._log_fd)
        deadlines = Deadlines()
        deadlines.each_sweep(log.flush)
        deadlines.each_sweep(upstream.sweep)
        deadlines.each_sweep(self._lag.tick)
        deadlines.each_sweep(self._tell_ignored_days)
        return State(
            setup=_setup(config),
            admission=admission,
            upstream=upstream,
            usage=usage,
            metrics=Metrics(),
            log=log,
            deadlines=deadlines,
            ids=Ids(os.urandom(16)),
            bodies=BodyBudget(limits.max_body_bytes_in_flight),
            health=Health(partial(tell_health, log, self._clock)),
            clock=self._clock,
            started_unix=self._clock.unix(),
        )

    def _tell_missing_plans(self, keys: KeyTable) -> None:
        """Log each plan that accounts have and the file has not: their calls get a 403."""
        lost: dict[str, set[int]] = {}
        for _, account in keys.all():
            if account.active and account.plan not in self.config.catalog.plans:
                lost.setdefault(account.plan, set()).add(account.id)
        for plan, accounts in lost.items():
            self.state.log.event(
                self._clock.unix(), "plan_missing", plan=plan, accounts=len(accounts)
            )

    def _tell_ignored_days(self, _: float) -> None:
        """Log a day that a wrong clock brought, once it is found out."""
        ignored = self.state.admission.ignored_days
        if ignored is self._told_days:
            return
        for day in ignored:
            if day not in self._told_days:
                self.state.log.event(self._clock.unix(), "clock_was_wrong", ignored=day.isoformat())
        self._told_days = ignored

    def _register_gauges(self) -> None:
        state = self.state
        gauge = state.metrics.gauge
        state.metrics.each_upstream = lambda: state.health.up(
            state.setup.catalog, self._clock.now()
        )
        gauge(
            "kurol_ledger_pending_rows",
            "Usage rows not yet in SQLite.",
            lambda: state.usage.pending,
        )
        gauge(
            "kurol_ledger_oldest_pending_seconds",
            "Age of the oldest of them.",
            lambda: state.usage.oldest_pending_s,
        )
        gauge(
            "kurol_ledger_writable",
            "1 while the ledger can be written.",
            lambda: float(state.usage.writable),
        )
        gauge(
            "kurol_wal_bytes",
            "Length of SQLite's write-ahead log.",
            lambda: state.usage.wal_bytes,
        )
        state.metrics.counter(
            "kurol_journal_damaged_records",
            "Lines of the journal that could not be read.",
            lambda: state.usage.damaged,
        )
        gauge(
            "kurol_event_loop_lag_seconds",
            "How late the event loop was at most, in the last 15 to 30 seconds.",
            lambda: self._lag.seconds,
        )
        gauge(
            "kurol_reserved_tokens",
            "Tokens held by running calls.",
            lambda: state.admission.reserved,
        )
        gauge(
            "kurol_requests_running",
            "Calls that were admitted and run.",
            lambda: state.admission.running,
        )
        gauge(
            "kurol_body_bytes_in_flight",
            "Bytes of the request bodies that are held.",
            lambda: state.bodies.held,
        )

    # --- listeners ----------------------------------------------------------------

    async def _listen(self, stack: AsyncExitStack) -> None:
        config = self.config
        idle = config.limits.idle_connection_timeout_s
        metrics = config.metrics.address
        if metrics is not None:
            routes = MetricsRoutes(self.state)
            server = GatewayServer(routes.dispatch, keepalive_timeout_s=idle)
            self.metrics_address = (await _serve(stack, server, (metrics,)))[0]
        self._server = GatewayServer(Routes(self.state).dispatch, keepalive_timeout_s=idle)
        self.addresses = await _serve(stack, self._server, config.server.addresses)


async def _serve(
    stack: AsyncExitStack, server: GatewayServer, addresses: tuple[Address, ...]
) -> list[Address]:
    """Serve at some addresses; return them with their real ports."""
    runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    for address in addresses:
        site = web.TCPSite(runner, address.host, address.port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
    return [Address(*each[:2]) for each in runner.addresses]


def _setup(config: Config) -> Setup:
    """Return what the server takes from a configuration."""
    limits = config.limits
    hosts = (urlsplit(each.base_url).hostname or "" for each in config.catalog.upstreams.values())
    settings = Settings(
        contact=config.server.contact,
        keepalive_interval_s=config.server.keepalive_interval_s,
        body=BodyLimits(
            max_bytes=limits.max_body_bytes,
            max_in_flight=limits.max_body_bytes_in_flight,
            timeout_s=limits.body_timeout_s,
        ),
        max_event_bytes=limits.max_event_bytes,
        max_json_depth=limits.max_json_depth,
        stalled_reader_timeout_s=limits.stalled_reader_timeout_s,
        metrics_token=config.metrics.token,
        fail_closed=config.ledger.when_unwritable == "fail-closed",
        hash_secret=_hash_secret(config),
        user_agent=f"kurolproxy/{__version__}",
    )
    return Setup(settings, config.catalog, Scrubber(config.secrets, hosts))


def _hash_secret(config: Config) -> bytes:
    """Key the hashes of user ids: the same after a restart, unknown to the vendors."""
    seed = "\n".join(sorted(config.secrets)) or str(config.server.state_path)
    return hashlib.sha256(b"kurolproxy user ids\n" + seed.encode()).digest()
