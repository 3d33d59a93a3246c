"""What the server takes from a configuration, at the start and whenever it is read again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from kurolproxy import __version__
from kurolproxy.config.changes import needs_restart
from kurolproxy.config.model import Config
from kurolproxy.config.problems import ConfigError
from kurolproxy.server.body import BodyLimits
from kurolproxy.server.notify import Notifier
from kurolproxy.server.scrub import Scrubber
from kurolproxy.server.state import Settings, Setup, State
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.errors import StorageError


class Reloader:
    """Replaces the configuration of a gateway that runs; its calls keep theirs.

    Args:
        state: whose ``setup`` is swapped.
        config: what the process was started with.
        read: reads the configuration again; blocks.
        notifier: is told of each reload.
        taken: is told of each new configuration.

    Attributes:
        last: what the last reload answered, and ``at``, unix seconds; None: there was none.
    """

    def __init__(
        self,
        state: State,
        accounts: AccountStore,
        config: Config,
        read: Callable[[], Config],
        notifier: Notifier,
        taken: Callable[[Config], None],
    ) -> None:
        self._state = state
        self._accounts = accounts
        self._started_with = config
        self._read = read
        self._notifier = notifier
        self._taken = taken
        self._one_at_a_time = asyncio.Lock()
        self.last: Mapping[str, Any] | None = None

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again and go on with it.

        Returns:
            ``ok``; of a refused one ``problems``, and nothing has changed; of another
            ``needs_restart`` (keys whose new value waits for the next start), ``warnings``
            and the number of ``models``.
        """
        async with self._one_at_a_time:
            if self._state.leaving:
                return {"ok": False, "problems": ["the gateway is shutting down"]}
            self._notifier.reloading()
            try:
                answer = await self._tried()
            finally:
                self._notifier.ready()
            self._state.metrics.config_reload_successful = int(answer["ok"])
            name = "reloaded" if answer["ok"] else "reload_refused"
            now = self._state.clock.unix()
            self.last = {**answer, "at": now}
            self._state.log.event(now, name, **answer)
            return answer

    async def _tried(self) -> dict[str, Any]:
        try:
            config, setup = await asyncio.to_thread(self._read_whole)
            problems = await self._lost_plans(config)
        except ConfigError as error:
            return {"ok": False, "problems": [str(each) for each in error.problems]}
        except StorageError as error:
            return {"ok": False, "problems": [f"the accounts cannot be looked at: {error}"]}
        return {"ok": False, "problems": problems} if problems else self._take(config, setup)

    def _read_whole(self) -> tuple[Config, Setup]:
        config = self._read()
        return config, setup_of(config)

    def _take(self, config: Config, setup: Setup) -> dict[str, Any]:
        """Go on with another configuration, at once: nothing is awaited here."""
        state = self._state
        before, state.setup = state.setup.catalog, setup
        state.admission.replace_catalog(config.catalog, contact=config.server.contact)
        state.health.keep(config.catalog, before)
        state.figures.keep(config.catalog.upstreams)
        state.bodies.limit = config.limits.max_body_bytes_in_flight
        state.log.mode = config.log.requests
        logging.getLogger().setLevel(config.log.level.upper())
        self._accounts.max_keys = config.limits.max_keys_per_account
        self._taken(config)
        return {
            "ok": True,
            "needs_restart": needs_restart(self._started_with, config),
            "warnings": [str(each) for each in config.warnings],
            "models": len(config.catalog.models),
        }

    async def _lost_plans(self, config: Config) -> list[str]:
        """Return what is wrong with a file that has not all plans of active accounts."""
        plans = [each.plan for each in await self._accounts.list_accounts() if each.active]
        lost = Counter(each for each in plans if each not in config.catalog.plans)
        return [
            f"{config.name}: the plan '{plan}' is missing, and active accounts have it: {count};"
            " keep it until they have another (users set-plan)"
            for plan, count in lost.items()
        ]


def setup_of(config: Config) -> Setup:
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
        allowed_hosts=frozenset(each.lower() for each in config.server.allowed_hosts),
        trusted_proxies=tuple(map(ip_network, config.server.trusted_proxies)),
        failed_logins_per_minute=limits.failed_logins_per_minute,
    )
    return Setup(settings, config.catalog, Scrubber(config.secrets, hosts))


def _hash_secret(config: Config) -> bytes:
    """Key the hashes of user ids: the same after a restart, unknown to the vendors."""
    seed = "\n".join(sorted(config.secrets)) or str(config.server.state_path)
    return hashlib.sha256(b"kurolproxy user ids\n" + seed.encode()).digest()
