"""The composition root: build every object once, start them, stop them."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from gettext import NullTranslations
from typing import Any

from aiohttp import web

from kurolproxy import __version__
from kurolproxy.config.addresses import Address
from kurolproxy.config.model import Config
from kurolproxy.dashboard.feeds import MOST_VIEWERS, Feeds
from kurolproxy.dashboard.router import Router
from kurolproxy.dashboard.routes import ROUTES
from kurolproxy.dashboard.updates import Updates
from kurolproxy.desks import Supplies, desk_of, document_of, end_calls, management_of, site_of
from kurolproxy.live import Live
from kurolproxy.metrics import Metrics
from kurolproxy.policy.admission import Admission
from kurolproxy.policy.health import Health
from kurolproxy.policy.keys import KeyTable
from kurolproxy.policy.sessions import SessionTable
from kurolproxy.reloading import Reloader, setup_of
from kurolproxy.server.body import BodyBudget
from kurolproxy.server.control import Books, ControlServer, Desk
from kurolproxy.server.deadlines import SWEEP_S, Deadlines
from kurolproxy.server.descriptors import Descriptors, descriptor_limit
from kurolproxy.server.drain import Patience, drain
from kurolproxy.server.explain import Explainer, Moment
from kurolproxy.server.facts import Pieces, usage_facts
from kurolproxy.server.failover import tell_health
from kurolproxy.server.gauges import register
from kurolproxy.server.hardening import GatewayServer, Handler
from kurolproxy.server.ids import Ids
from kurolproxy.server.lag import LoopLag
from kurolproxy.server.listeners import Inherited, Listener
from kurolproxy.server.log import RequestLog
from kurolproxy.server.memory import MemoryWatch, Resident
from kurolproxy.server.notify import Notifier
from kurolproxy.server.routes import MetricsRoutes, Routes, malformed
from kurolproxy.server.state import Clock, State
from kurolproxy.server.troubles import Troubles
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import StorageError
from kurolproxy.storage.journal import FOLDER
from kurolproxy.storage.ledger import Ledger
from kurolproxy.storage.lock import StateDirectory
from kurolproxy.storage.passwords import Passwords
from kurolproxy.storage.people import People
from kurolproxy.storage.privacy import make_private
from kurolproxy.storage.reports import UsageReader
from kurolproxy.storage.restoring import restore
from kurolproxy.storage.retention import keep
from kurolproxy.storage.sessions import SessionStore
from kurolproxy.upstream.both import Upstreams

# What running calls get when the gateway is stopped without a drain.
_SHUTDOWN_S = 5.0
# What connections get that are still open after the drain, and everything after a second signal.
_CLOSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a process of its own gives the gateway, and a test need not.

    Attributes:
        sockets: those that were handed over, instead of binding.
        notifier: tells the service manager how we are.
        read: reads the configuration again, for a reload; None: there is nothing to read.
        memory_limit: bytes that the process may take; None: nobody says.
        translations: the dashboard's texts in another language; None: as they are written.
        passwords: makes what hashes passwords, at a price of its own.
    """

    sockets: Inherited = field(default_factory=Inherited)
    notifier: Notifier = field(default_factory=Notifier)
    read: Callable[[], Config] | None = None
    memory_limit: int | None = None
    translations: NullTranslations | None = None
    passwords: Callable[[], Passwords] = Passwords


class Gateway:
    """One gateway, from its configuration to its listeners.

    Args:
        config: checked as a whole.
        log_fd: where the request log goes.
        clock: the three times; tests hand in others.
        around: what the process was given.

    Attributes:
        config: the one in use.
        state: what the handlers see; there once ``start`` returned.
        database: where people and usage are; there once ``start`` returned.
        accounts: the people; there once ``start`` returned.
        sessions: who is logged in to the dashboard.
        logins: begins and ends sessions; there once ``start`` returned.
        passwords: hashes and checks them; likewise.
        live: what goes on now.
        feeds: those who watch it; there once ``start`` returned.
        addresses: host and port of each listener, the real port where 0 was asked for.
        metrics_address: of the metrics listener; None when there is none.
        reloader: takes over another configuration; None when there is no file to read.
    """

    state: State
    accounts: AccountStore
    database: Database
    logins: SessionStore
    passwords: Passwords
    _people: People
    feeds: Feeds
    _troubles: Troubles

    def __init__(
        self,
        config: Config,
        *,
        log_fd: int = 1,
        clock: Clock | None = None,
        around: Surroundings | None = None,
    ) -> None:
        self.config = config
        self.addresses: list[Address] = []
        self.metrics_address: Address | None = None
        self.reloader: Reloader | None = None
        self.live = Live()
        self.sessions = SessionTable()
        self._around = around or Surroundings()
        self._listener: Listener | None = None
        self._left = False
        self._hurry = asyncio.Event()
        self._log_fd = log_fd
        self._clock = clock or Clock()
        self._closing = AsyncExitStack()
        self._lag = LoopLag(SWEEP_S)

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
        self._around.notifier.status = self._goes_on
        self._around.notifier.ready()

    async def leave(self, hurry: asyncio.Event) -> None:
        """Let what runs come to its end, as ``[server]`` says; ``stop`` closes the rest.

        Args:
            hurry: set: do not wait any longer, also not in ``stop``.
        """
        self._hurry = hurry
        self._around.notifier.stopping()
        server = self.config.server
        await self._drain(Patience(server.drain_delay_s, server.drain_timeout_s))

    async def stop(self) -> None:
        """Close the listeners, let running calls settle, write what is pending, close all."""
        if not self._left:
            await self._drain(Patience(0.0, _SHUTDOWN_S))
        await self._closing.aclose()

    async def _drain(self, patience: Patience) -> None:
        assert self._listener is not None
        self._left = True
        # They would hold up the end, and are no calls.
        self.feeds.close()
        ended = await drain(self.state, self._listener, patience, self._hurry)
        if ended:
            self._troubles.tell("calls_ended", calls=ended)

    @property
    def public_url(self) -> str:
        """How users call the gateway; there once ``start`` returned."""
        return site_of(self.config, self.addresses).public_url

    def connections(self) -> list[web.RequestHandler]:
        """Return the client connections of the main listeners."""
        return self._listener.server.connections if self._listener is not None else []

    # --- building -----------------------------------------------------------------

    async def _open(self, stack: AsyncExitStack) -> None:
        config = self.config
        directory = StateDirectory(config.server.state_path).hold()
        stack.callback(directory.release)
        mended = await asyncio.to_thread(make_private, directory.path)
        self.database = database = await Database.open(directory.database_path)
        stack.push_async_callback(database.close)
        keys = KeyTable()
        self.accounts = AccountStore(
            database,
            keys,
            sessions=self.sessions,
            max_keys=config.limits.max_keys_per_account,
            invites=lambda: self.config.dashboard.signup != "closed",
            clock=self._clock.unix,
        )
        await self.accounts.load()
        await self._open_sessions(stack)
        usage = Ledger(
            database,
            directory.path / FOLDER,
            strict=config.ledger.durability == "strict",
        )
        await usage.open()
        usage.start()
        stack.push_async_callback(self._close_ledger, usage)
        self._keep_details(stack, usage)
        admission = Admission(config.catalog, keys, contact=config.server.contact)
        ignored = await restore(admission, UsageReader(database), self._clock.today())
        upstream = Upstreams()
        stack.push_async_callback(upstream.close)
        resident = Resident()
        stack.callback(resident.close)
        self.state = self._state(admission, usage, upstream, resident)
        self._troubles.missing_plans(keys.all(), config.catalog.plans)
        if mended:
            self._troubles.tell("state_made_private", files=mended)
        if ignored:
            self._troubles.tell("ledger_has_later_days", ignored=", ".join(map(str, ignored)))
        register(self.state, self._lag)
        self.state.deadlines.start()
        stack.callback(self.state.log.close)
        stack.callback(self.state.deadlines.stop)
        self._people = People(self.accounts, lambda: self.state.setup.catalog.plans)
        self.feeds = self._made_feeds(keys)
        supplies = self._supplies(keys)
        routes = Routes(
            self.state,
            Router(desk_of(supplies), ROUTES, self._around.translations).dispatch,
            management_of(supplies).dispatch,
            lambda: document_of(supplies),
        )
        await self._listen(stack, routes)
        read = self._around.read
        if read is not None:
            self.reloader = Reloader(
                self.state, self.accounts, config, read, self._around.notifier, self._taken
            )
        await self._open_control(stack, UsageReader(database))

    def _made_feeds(self, keys: KeyTable) -> Feeds:
        clock = self._clock
        admission = self.state.admission
        updates = Updates(self.live, admission, keys, clock.now, clock.unix, clock.today)
        # Each viewer holds a descriptor, and calls need theirs.
        limit = descriptor_limit()
        most = MOST_VIEWERS if limit is None else min(MOST_VIEWERS, limit // 4)
        return Feeds(
            updates, self.sessions, most=most, enabled=lambda: self.config.dashboard.enabled
        )

    async def _open_sessions(self, stack: AsyncExitStack) -> None:
        """Know who was logged in before, and write down now and then who still is."""
        self.logins = SessionStore(self.database, self.sessions, clock=self._clock.unix)
        await self.logins.load()
        task = asyncio.create_task(self.logins.keep())

        async def end() -> None:
            task.cancel()
            await asyncio.wait({task})
            if not self._hurry.is_set():
                with suppress(StorageError):
                    await self.logins.tidy()

        stack.push_async_callback(end)
        self.passwords = self._around.passwords()
        stack.callback(self.passwords.close)

    def _supplies(self, keys: KeyTable) -> Supplies:
        return Supplies(
            state=self.state,
            config=lambda: self.config,
            addresses=lambda: self.addresses,
            database=self.database,
            keys=keys,
            accounts=self.accounts,
            sessions=self.sessions,
            logins=self.logins,
            passwords=self.passwords,
            people=self._people,
            feeds=self.feeds,
            status=self.status,
            lag=self._lag,
            reload=lambda: self.reloader.reload if self.reloader is not None else None,
            last_reload=lambda: self.reloader.last if self.reloader is not None else None,
        )

    async def _open_control(self, stack: AsyncExitStack, reader: UsageReader) -> None:
        """Serve the control socket, last: who finds it finds a gateway that works."""
        state = self.state

        async def report(args: Mapping[str, Any]) -> Pieces:
            whole = await state.usage.flush()
            return await usage_facts(reader, args, pending=0 if whole else state.usage.pending)

        books = Books(state.usage.flush, state.usage.paused, lambda: state.usage.pending)
        explainer = Explainer(
            state.admission,
            self.accounts,
            lambda: state.setup.catalog,
            self._moment,
            state.health,
        )
        desk = Desk(
            self.status,
            report,
            lambda: state.setup.catalog,
            partial(end_calls, state),
            books,
            explain=explainer.explain,
            reload=self.reloader.reload if self.reloader is not None else None,
        )
        control = ControlServer(self.config.server.state_path, self._people, desk)
        await control.start()
        stack.push_async_callback(self._close_control, control)

    async def _close_ledger(self, usage: Ledger) -> None:
        if self._hurry.is_set():
            await usage.close(timeout_s=_CLOSE_S)
        else:
            await usage.close()

    async def _close_control(self, control: ControlServer) -> None:
        if self._hurry.is_set():
            control.patience_s = _CLOSE_S
        await control.stop()

    def _taken(self, config: Config) -> None:
        """Remember another configuration, for what is looked up when it is needed."""
        self.config = config
        if self._listener is not None:
            self._listener.server.header_timeout_s = config.limits.header_timeout_s

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

    def _goes_on(self) -> str:
        """Return what goes on, in one line for the service manager."""
        state = self.state
        how = "draining" if state.leaving or state.draining else "serving"
        return f"{how}, {state.metrics.streams_in_flight} streams, {len(state.deadlines)} calls"

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
            "draining": state.leaving or state.draining,
            "config": self.config.name,
            "config_last_reload_ok": bool(state.metrics.config_reload_successful),
            "upstreams": state.health.facts(state.setup.catalog, state.clock.now()),
        }

    def _state(
        self, admission: Admission, usage: Ledger, upstream: Upstreams, resident: Resident
    ) -> State:
        config = self.config
        limits = config.limits
        log = RequestLog(config.log.requests, config.log.format, self._log_fd)
        self._troubles = troubles = Troubles(log, self._clock, admission)
        deadlines = Deadlines()
        deadlines.each_sweep(log.flush)
        deadlines.each_sweep(upstream.sweep)
        deadlines.each_sweep(self._lag.tick)
        deadlines.each_sweep(troubles.ignored_days)
        deadlines.each_sweep(self._around.notifier.tick)
        memory = MemoryWatch(self._around.memory_limit, resident, troubles.memory)
        deadlines.each_sweep(memory.look)
        descriptors = Descriptors(descriptor_limit(), self._make_room, troubles.descriptors)
        deadlines.each_sweep(descriptors.look)
        return State(
            setup=setup_of(config),
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
            memory=memory,
            descriptors=descriptors,
            live=self.live,
            started_unix=self._clock.unix(),
        )

    def _make_room(self) -> None:
        if self._listener is not None:
            self._listener.close_idle()

    # --- listeners ----------------------------------------------------------------

    async def _listen(self, stack: AsyncExitStack, routes: Routes) -> None:
        config, sockets = self.config, self._around.sockets
        metrics = config.metrics.address
        # Closed in the opposite order: who watches us sees us to the end.
        if metrics is not None or sockets.metrics:
            watched = Listener(self._server(MetricsRoutes(self.state).dispatch))
            stack.push_async_callback(watched.close, _CLOSE_S)
            bound = await watched.open([metrics] if metrics else [], sockets.metrics)
            self.metrics_address = Address(*bound[0])
        self._listener = Listener(self._server(routes.dispatch))
        stack.push_async_callback(self._listener.close, _CLOSE_S)
        bound = await self._listener.open(config.server.addresses, sockets.main)
        self.addresses = [Address(*each) for each in bound]

    def _server(self, handler: Handler) -> GatewayServer:
        limits = self.config.limits
        server = GatewayServer(
            handler,
            partial(malformed, self.state),
            stalled_after_s=lambda: self.state.setup.settings.stalled_reader_timeout_s,
            keepalive_timeout_s=limits.idle_connection_timeout_s,
            header_timeout_s=limits.header_timeout_s,
            highest_descriptor=self.state.descriptors.highest,
        )
        self.state.deadlines.each_sweep(server.sweep)
        return server
