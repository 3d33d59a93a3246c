"""Hand the dashboard what it asks of the gateway: it knows neither server nor configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Any

from aiohttp.web import BaseRequest

from kurolproxy import __version__
from kurolproxy.config.addresses import Address
from kurolproxy.config.explained import Line, explained
from kurolproxy.config.model import Config
from kurolproxy.dashboard.desk import Desk, Operation, Reload, Site, Times
from kurolproxy.dashboard.feeds import Feeds
from kurolproxy.errors import Unauthenticated
from kurolproxy.policy.keys import KeyTable
from kurolproxy.policy.sessions import SessionTable
from kurolproxy.server.inside import call_as
from kurolproxy.server.lag import LoopLag
from kurolproxy.server.manage import Management
from kurolproxy.server.manage_operations import Desk as ManagementDesk
from kurolproxy.server.openapi import Documents
from kurolproxy.server.operation import system_facts, upstream_facts
from kurolproxy.server.peer import client_address
from kurolproxy.server.state import State
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.passwords import Passwords
from kurolproxy.storage.people import People
from kurolproxy.storage.reports import UsageReader
from kurolproxy.storage.sessions import SessionStore


@dataclass(frozen=True, slots=True)
class Supplies:
    """What the composition root has built, and the dashboard shares.

    Attributes:
        config: the one in use.
        addresses: of the listeners, as they were bound.
        status: what runs, as JSON values.
        lag: of the event loop.
        reload: returns what reads the configuration again; None: there is no file.
        last_reload: what the last reload answered, and ``at``; None: there was none.
        documents: what ``/openapi.json`` is.
    """

    state: State
    config: Callable[[], Config]
    addresses: Callable[[], Sequence[Address]]
    database: Database
    keys: KeyTable
    accounts: AccountStore
    sessions: SessionTable
    logins: SessionStore
    passwords: Passwords
    people: People
    feeds: Feeds
    status: Callable[[], Mapping[str, Any]]
    lag: LoopLag
    reload: Callable[[], Reload | None]
    last_reload: Callable[[], Mapping[str, Any] | None]
    documents: Documents = field(default_factory=lambda: Documents(__version__))


def desk_of(supplies: Supplies) -> Desk:
    """Return the desk of a gateway."""
    state = supplies.state
    clock = state.clock
    return Desk(
        site=lambda: site_of(supplies.config(), supplies.addresses()),
        times=Times(clock.now, clock.unix, clock.today),
        catalog=lambda: state.setup.catalog,
        admission=state.admission,
        keys=supplies.keys,
        people=supplies.people,
        accounts=supplies.accounts,
        sessions=supplies.sessions,
        logins=supplies.logins,
        passwords=supplies.passwords,
        database=supplies.database,
        usage=UsageReader(supplies.database),
        flush=state.usage.flush,
        live=state.live,
        feeds=supplies.feeds,
        call=partial(call_as, state),
        end_calls=lambda key_id: end_calls(state, key_id),
        address_of=lambda request: client_address(request, state.setup.settings.trusted_proxies),
        status=supplies.status,
        operation=operation_of(supplies),
        openapi=lambda: document_of(supplies),
        book=lambda *page: _book(state, *page),
        version=__version__,
    )


def operation_of(supplies: Supplies) -> Operation:
    """Return what the pages for admins ask of a gateway."""
    state, config = supplies.state, supplies.config
    folder = config().server.state_path
    return Operation(
        upstreams=lambda: upstream_facts(state),
        configuration=_Explained(config).lines,
        file=lambda: config().name,
        warnings=lambda: [str(each) for each in config().warnings],
        last_reload=supplies.last_reload,
        reload=supplies.reload,
        system=lambda: system_facts(state, supplies.lag, folder),
    )


class _Explained:
    """The configuration in use line by line: made when somebody asks, once for each.

    With some hundred models that takes a third of a second, on a thread.
    """

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._made: tuple[Config, list[Line]] | None = None

    async def lines(self) -> list[Line]:
        """Return the lines; they are shared, and not to be changed."""
        config, made = self._config(), self._made
        if made is None or made[0] is not config:
            made = self._made = (config, await asyncio.to_thread(explained, config))
        return made[1]


def management_of(supplies: Supplies) -> Management:
    """Return what answers the management API of a gateway."""
    state = supplies.state
    desk = ManagementDesk(
        people=supplies.people,
        reader=UsageReader(supplies.database),
        catalog=lambda: state.setup.catalog,
        flush=state.usage.flush,
        pending=lambda: state.usage.pending,
        end_calls=lambda key_id: end_calls(state, key_id),
    )
    return Management(state, desk, supplies.keys)


def document_of(supplies: Supplies) -> dict[str, Any]:
    """Return the OpenAPI document of a gateway."""
    config = supplies.config()
    return supplies.documents.of(_given_url(config), config.server.contact)


def site_of(config: Config, addresses: Sequence[Address]) -> Site:
    """Return what a configuration says to the dashboard.

    Args:
        addresses: of the listeners, for users who are told nothing else.
    """
    server, dashboard = config.server, config.dashboard
    return Site(
        public_url=_given_url(config) or _own_url((*addresses, *server.addresses)[0]),
        public_urls=server.public_urls,
        contact=server.contact,
        notice=server.notice,
        signup=dashboard.signup,
        signup_plan=dashboard.signup_plan,
        insecure_http=dashboard.insecure_http,
        failed_logins_per_minute=config.limits.failed_logins_per_minute,
        max_keys=config.limits.max_keys_per_account,
        enabled=dashboard.enabled,
    )


def _given_url(config: Config) -> str:
    """Return ``public_url`` as the operator wrote it; "": he left it to the listener."""
    server = config.server
    default = f"http://{[*server.listen, ''][0]}"
    return "" if server.public_url == default else server.public_url


def _own_url(address: Address) -> str:
    """Return how a gateway is reached that listens at an address: at all of them means here."""
    host, port = address
    with suppress(ValueError):
        if ip_address(host).is_unspecified:
            return f"http://127.0.0.1:{port}"
    return f"http://{address}"


def end_calls(state: State, key_id: str) -> int:
    """End the running calls of a key; return how many there were."""
    return state.deadlines.end(key_id, lambda: Unauthenticated("This key was revoked."))


def _book(
    state: State,
    request: BaseRequest,
    route: str,
    status: int,
    seconds: float,
    account: int | None,
) -> None:
    """Log a page; its path may hold a secret and stays out, the route says enough."""
    if not state.log.wants(error=status >= 400):
        return
    remote = client_address(request, state.setup.settings.trusted_proxies)
    fields = {
        "endpoint": route,
        "method": request.method,
        "remote": remote,
        "account": account,
        "status": status,
        "outcome": "page",
        "duration_ms": round(seconds * 1000, 1),
    }
    state.log.request(state.clock.unix(), fields)
