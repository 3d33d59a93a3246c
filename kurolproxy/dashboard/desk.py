"""What the dashboard is handed: the gateway's objects and a few of its doings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from aiohttp.web import BaseRequest, StreamResponse

from kurolproxy.dashboard.attempts import Attempts
from kurolproxy.dashboard.feeds import Feeds
from kurolproxy.dashboard.once import OneTime
from kurolproxy.live import Live
from kurolproxy.policy.admission import Admission
from kurolproxy.policy.catalog import Catalog
from kurolproxy.policy.keys import Account, KeyTable
from kurolproxy.policy.sessions import SessionTable
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.passwords import Passwords
from kurolproxy.storage.people import People
from kurolproxy.storage.reports import UsageReader
from kurolproxy.storage.sessions import SessionStore

Reload = Callable[[], Awaitable[Mapping[str, Any]]]
"""Reads the configuration again, and says what came of it."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the configuration says to the dashboard.

    Attributes:
        public_url: what users are told to call, without a trailing slash.
        public_urls: further names of the same server.
        contact: of the operator: an address, a URL or any text; may be "".
        notice: a line above every page; may be "".
        signup: who may make an account by himself.
        signup_plan: the plan of such accounts.
        insecure_http: serve over http on other names than loopback, too.
        failed_logins_per_minute: of one address.
        max_keys: of one account.
        enabled: False: only what needs no account is served.
    """

    public_url: str
    public_urls: tuple[str, ...] = ()
    contact: str = ""
    notice: str = ""
    signup: Literal["closed", "invite", "open"] = "closed"
    signup_plan: str = ""
    insecure_http: bool = False
    failed_logins_per_minute: int = 30
    max_keys: int = 20
    enabled: bool = True

    @property
    def secure(self) -> bool:
        """Whether users come by https."""
        return self.public_url.startswith("https:")


@dataclass(frozen=True, slots=True)
class Operation:
    """What the pages for admins ask of the gateway.

    Attributes:
        upstreams: what is known of each upstream and its ways, as JSON values.
        configuration: the configuration in use as (key, value, file:line) rows, secrets hidden.
        file: the name of the configuration file.
        warnings: what ``check`` says of the configuration in use.
        last_reload: what the last reload answered, and ``at``; None: there was none.
        reload: returns what reads the file again, as SIGHUP does; None: there is no file.
        system: how the process and its surroundings are, as JSON values.
    """

    upstreams: Callable[[], list[dict[str, Any]]]
    configuration: Callable[[], Awaitable[list[tuple[str, str, str]]]]
    file: Callable[[], str]
    warnings: Callable[[], list[str]]
    last_reload: Callable[[], Mapping[str, Any] | None]
    reload: Callable[[], Reload | None]
    system: Callable[[], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Times:
    """The three times: a monotonic clock, seconds since 1970, the day in UTC."""

    now: Callable[[], float]
    unix: Callable[[], float]
    today: Callable[[], date]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the pages ask of the gateway.

    Attributes:
        site: what the configuration in use says.
        catalog: the models, upstreams and plans in use.
        keys: accounts and keys in memory.
        people: the verbs that change accounts and keys.
        sessions: who is logged in; only ``logins`` begins and ends sessions.
        passwords: hashes and checks them.
        database: for the queries of the pages.
        flush: writes what was settled so far into the database; False: the disk takes none.
        feeds: those who watch live.
        call: (request, account, endpoint's path) -> the answer, already written: the request's
            body goes through the gateway as a call of the account.
        end_calls: (key id) -> how many running calls of the key were told to end.
        address_of: the client's address, behind trusted proxies too.
        status: what runs, as JSON values.
        operation: what the pages for admins ask.
        openapi: the document that ``/openapi.json`` is.
        book: (request, route, status, seconds, account id) -> logs a page.
        version: of the program.
        once: the ids of forms that count once.
        attempts: with passwords, and to make accounts, that were made of late.
    """

    site: Callable[[], Site]
    times: Times
    catalog: Callable[[], Catalog]
    admission: Admission
    keys: KeyTable
    people: People
    accounts: AccountStore
    sessions: SessionTable
    logins: SessionStore
    passwords: Passwords
    database: Database
    usage: UsageReader
    flush: Callable[[], Awaitable[bool]]
    live: Live
    feeds: Feeds
    call: Callable[[BaseRequest, Account, str], Awaitable[StreamResponse]]
    end_calls: Callable[[str], int]
    address_of: Callable[[BaseRequest], str]
    status: Callable[[], Mapping[str, Any]]
    operation: Operation
    openapi: Callable[[], dict[str, Any]]
    book: Callable[[BaseRequest, str, int, float, int | None], None]
    version: str
    once: OneTime = field(default_factory=OneTime)
    attempts: Attempts = field(default_factory=Attempts)
