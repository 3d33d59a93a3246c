"""The configuration as the rest of the program gets it, and the shape of its file.

The dataclasses of the sections are the file's keys, their types, ranges and defaults at
once: ``schema`` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from kurolproxy.config.addresses import (
    Address,
    address_fault,
    allowed_host_fault,
    api_key_fault,
    base_url_fault,
    header_value_fault,
    network_fault,
    path_fault,
    proxy_fault,
    public_url_fault,
    split_address,
)
from kurolproxy.config.positions import Positions
from kurolproxy.config.problems import Problem
from kurolproxy.policy.catalog import Catalog, Timeouts

# What JSON and every client can hold; larger figures are slips of the keyboard.
LARGEST: Final = 2**53
MAX_TIMEOUT_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Check:
    """A rule of one string, for ``Annotated``.

    Attributes:
        fault: returns what is wrong with a value, in words that never hold it, or None.
    """

    fault: Callable[[str], str | None]


Count = Annotated[int, Meta(ge=1, le=LARGEST)]
Seconds = Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_S)]
Delay = Annotated[float, Meta(ge=0, le=MAX_TIMEOUT_S)]
Dollars = Annotated[float, Meta(ge=0, le=1_000_000)]
ListenAddress = Annotated[str, Check(address_fault)]
PublicUrl = Annotated[str, Check(public_url_fault)]
ONE_OR_MANY: Final = "one or many"
"""Marks an array that may be written as its only element."""


def required() -> Any:
    """Make a field of a table that must be given."""
    return field(default="", metadata={"required": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """``[server]``.

    Attributes:
        listen: ``host:port`` of each listener; port 0 takes a free one.
        public_url: what users are told to call, without a trailing slash.
        public_urls: further names of the same server.
        state_dir: absolute once it was loaded (a relative one starts at the file's folder).
        contact: ends the messages that people can only solve by asking.
        notice: a line above every page of the dashboard.
        trusted_proxies: addresses and networks whose ``X-Forwarded-For`` counts.
        allowed_hosts: empty: any; else a foreign ``Host`` is refused.
    """

    listen: Annotated[tuple[ListenAddress, ...], ONE_OR_MANY] = ("127.0.0.1:8080",)
    public_url: PublicUrl = ""
    public_urls: tuple[PublicUrl, ...] = ()
    state_dir: str = "/var/lib/kurolproxy"
    contact: str = ""
    notice: str = ""
    trusted_proxies: tuple[Annotated[str, Check(network_fault)], ...] = ()
    allowed_hosts: tuple[Annotated[str, Check(allowed_host_fault)], ...] = ()
    drain_timeout_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    drain_delay_s: Delay = 0.0
    keepalive_interval_s: Seconds = 15.0

    @property
    def addresses(self) -> tuple[Address, ...]:
        """``listen`` as host and port."""
        return tuple(split_address(each) for each in self.listen)

    @property
    def state_path(self) -> Path:
        """``state_dir`` as a path."""
        return Path(self.state_dir)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``[limits]``: what one request, connection or person may take."""

    max_body_bytes: Count = 33_554_432
    max_body_bytes_in_flight: Count = 268_435_456
    header_timeout_s: Seconds = 10.0
    body_timeout_s: Seconds = 30.0
    max_event_bytes: Count = 16_777_216
    # orjson writes 254 levels and no more; what a client may nest stays well below.
    max_json_depth: Annotated[int, Meta(ge=1, le=200)] = 100
    idle_connection_timeout_s: Seconds = 75.0
    stalled_reader_timeout_s: Seconds = 120.0
    failed_logins_per_minute: Count = 30
    max_keys_per_account: Count = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """``[ledger]``: how safe the record of usage is, and how long its rows are kept."""

    durability: Literal["normal", "strict"] = "normal"
    when_unwritable: Literal["fail-closed", "fail-open"] = "fail-closed"
    detail_days: Annotated[int, Meta(ge=1, le=36_500)] = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """``[metrics]``; ``listen`` "": no listener; ``token``: serves them on the main port too."""

    listen: ListenAddress = "127.0.0.1:9469"
    token: str = field(default="", repr=False)

    @property
    def address(self) -> Address | None:
        """``listen`` as host and port; None when there is no listener."""
        return split_address(self.listen) if self.listen else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """``[log]``: which requests are logged, and how."""

    requests: Literal["all", "errors", "none"] = "all"
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """``[dashboard]``; ``signup_plan``: the plan of accounts that people make themselves."""

    enabled: bool = True
    signup: Literal["closed", "invite", "open"] = "closed"
    signup_plan: str = ""
    insecure_http: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One configuration file, checked as a whole; a reload makes another.

    Attributes:
        name: the file's name, as it was given.
        timeouts: the defaults; each target of the catalog holds its own.
        secrets: every credential in it, for the scrubber of texts.
        warnings: what ``check`` tells although the file is valid.
        positions: where each key stands, for those who show the configuration.
    """

    name: str
    server: Server
    limits: Limits
    timeouts: Timeouts
    ledger: Ledger
    metrics: Metrics
    log: Log
    dashboard: Dashboard
    catalog: Catalog
    secrets: tuple[str, ...] = field(repr=False)
    warnings: tuple[Problem, ...] = ()
    positions: Positions = field(repr=False, compare=False)


# --- the arrays of tables ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTable:
    """``[[upstreams]]``, but for its timeouts."""

    name: str = required()
    preset: str | None = None
    protocols: tuple[str, ...] | None = None
    base_url: Annotated[str, Check(base_url_fault)] | None = None
    paths: Mapping[str, Annotated[str, Check(path_fault)]] = field(default_factory=dict)
    api_version: str | None = None
    api_keys: tuple[Annotated[str, Check(api_key_fault)], ...] = ()
    headers: Mapping[str, Annotated[str, Check(header_value_fault)]] = field(default_factory=dict)
    proxy: Annotated[str, Check(proxy_fault)] | None = None
    max_concurrent: Count | None = None
    trace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """``price`` of a model: US dollars for a million tokens."""

    prompt: Dollars = 0.0
    completion: Dollars = 0.0
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTable:
    """``[[models]]``, but for its timeouts and flags."""

    id: str = required()
    aliases: tuple[str, ...] = ()
    active: bool = True
    protocols: tuple[str, ...] | None = None
    targets: tuple[dict[str, Any], ...] = field(default=(), metadata={"required": True})
    context_window: Count | None = None
    max_output_tokens: Count | None = None
    price: PriceTable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTable:
    """One of ``targets``, but for its timeouts and flags; ``model`` None: the model's id."""

    upstream: str = required()
    model: str | None = None
    priority: Annotated[int, Meta(ge=-1_000, le=1_000)] = 0
    weight: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    context_window: Count | None = None
    max_output_tokens: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTable:
    """``[[plans]]``; a limit that is left out is unlimited."""

    name: str = required()
    models: tuple[str, ...] = field(default=(), metadata={"required": True})
    requests_per_minute: Count | None = None
    daily_tokens: Count | None = None
    concurrent_requests: Count | None = None
    max_output_tokens: Count | None = None
    reserve_output_tokens: Count | None = None
    cached_tokens_weight: Annotated[float, Meta(ge=0, le=1)] = 1.0
