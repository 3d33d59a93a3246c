"""Every long-lived object of the server, typed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from kurolproxy.live import Live
from kurolproxy.metrics import Metrics
from kurolproxy.policy.admission import Admission
from kurolproxy.policy.catalog import Catalog
from kurolproxy.policy.damping import Damping
from kurolproxy.policy.figures import Figures
from kurolproxy.policy.health import Health
from kurolproxy.server.body import BodyBudget, BodyLimits
from kurolproxy.server.deadlines import Deadlines
from kurolproxy.server.descriptors import Descriptors
from kurolproxy.server.ids import Ids
from kurolproxy.server.log import RequestLog
from kurolproxy.server.memory import MemoryWatch
from kurolproxy.server.peer import Network
from kurolproxy.server.scrub import Scrubber
from kurolproxy.server.turns import Turns
from kurolproxy.storage.ledger import Ledger
from kurolproxy.upstream.address import Addresses
from kurolproxy.upstream.client import UpstreamClient


@dataclass(frozen=True, slots=True)
class Clock:
    """The three times: tests hand in others.

    Attributes:
        now: seconds of a monotonic clock, for limits and durations.
        unix: seconds since 1970, for what people read.
    """

    now: Callable[[], float] = time.monotonic
    unix: Callable[[], float] = time.time

    def today(self) -> date:
        """Return the day in UTC."""
        return datetime.fromtimestamp(self.unix(), UTC).date()


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says to the server.

    Attributes:
        contact: of the operator, for error texts.
        metrics_token: lets ``/metrics`` on the main port answer; "" means never.
        fail_closed: refuse calls while the ledger cannot be written.
        hash_secret: keys the hash of user ids that a vendor may see.
        allowed_hosts: what a ``Host`` may say, in lower case; empty: anything.
        trusted_proxies: whose ``X-Forwarded-For`` counts.
        failed_logins_per_minute: wrong keys of one address that are answered with a 401.
    """

    contact: str = ""
    keepalive_interval_s: float = 15.0
    body: BodyLimits = field(default_factory=BodyLimits)
    max_event_bytes: int = 16_777_216
    max_answer_bytes: int = 268_435_456
    max_json_depth: int = 100
    stalled_reader_timeout_s: float = 120.0
    metrics_token: str = ""
    fail_closed: bool = True
    hash_secret: bytes = b""
    user_agent: str = "kurolproxy"
    allowed_hosts: frozenset[str] = frozenset()
    trusted_proxies: tuple[Network, ...] = ()
    failed_logins_per_minute: int = 30


@dataclass(frozen=True, slots=True)
class Setup:
    """All that comes from one configuration: a reload makes another and swaps the reference.

    A call takes ``State.setup`` once and stays with it to its end.

    Attributes:
        addresses: of the catalog's targets, each made when it is first needed.
    """

    settings: Settings
    catalog: Catalog
    scrubber: Scrubber
    addresses: Addresses = field(default_factory=Addresses)


@dataclass(slots=True)
class State:
    """What every request handler is handed.

    Attributes:
        setup: the configuration in use; replaced as a whole, together with the admission's.
        leaving: readiness says no, calls are still served; see ``drain``.
        draining: no new call is taken.
    """

    setup: Setup
    admission: Admission
    upstream: UpstreamClient
    usage: Ledger
    metrics: Metrics
    log: RequestLog
    deadlines: Deadlines
    ids: Ids
    bodies: BodyBudget
    health: Health
    clock: Clock = field(default_factory=Clock)
    turns: Turns = field(default_factory=Turns)
    memory: MemoryWatch = field(default_factory=MemoryWatch)
    descriptors: Descriptors = field(default_factory=Descriptors)
    damping: Damping = field(default_factory=Damping)
    figures: Figures = field(default_factory=Figures)
    live: Live = field(default_factory=Live)
    leaving: bool = False
    draining: bool = False
    started_unix: float = 0.0
