"""A gateway with people, models and a month of usage, for somebody who looks at it."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from kurolproxy.app import Gateway, Surroundings
from kurolproxy.config.load import parse
from kurolproxy.demo.vendor import DemoVendor
from kurolproxy.policy.keys import Account
from kurolproxy.policy.sessions import Session, digest
from kurolproxy.server.state import Clock
from kurolproxy.storage.rows import UsageRow
from kurolproxy.storage.usage import import_rows

VENDOR_KEY = "sk-vendor-credential"
PASSWORD = "correct horse battery"
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "javascript:alert(1)",
)
"""Names that must stay text."""

NOTICE = 'notice = "Maintenance on Sunday, 02:00-03:00 UTC."'

_TEXT = """
[server]
listen = "127.0.0.1:0"
state_dir = "{folder}/state"
contact = "mailto:ops@example.org"
{server}

[metrics]
listen = ""

[limits]
failed_logins_per_minute = 1_000

[dashboard]
signup = "invite"
signup_plan = "team"

[[upstreams]]
name = "demo"
base_url = "{vendor_url}"
protocols = ["openai-chat", "openai-responses", "anthropic", "gemini"]
api_keys = ["{vendor_key}"]

[[upstreams]]
name = "lab"
base_url = "http://127.0.0.1:1"
protocols = ["openai-chat"]
api_keys = ["{vendor_key}"]

[[models]]
id = "demo-echo"
aliases = ["echo"]
targets = [{{ upstream = "demo", model = "demo-echo" }}]
context_window = 200_000
max_output_tokens = 16_384
price = {{ prompt = 1.5, completion = 6.0 }}

[[models]]
id = "demo-slow"
targets = [{{ upstream = "demo", model = "demo-slow" }}]
context_window = 200_000
max_output_tokens = 16_384
price = {{ prompt = 0.4, completion = 1.6 }}

[[models]]
id = "demo-think"
targets = [{{ upstream = "demo", model = "demo-think", reasoning_family = "demo" }}]
context_window = 400_000
max_output_tokens = 64_000

[[models]]
id = "lab-llama"
targets = [{{ upstream = "lab", model = "llama" }}]
context_window = 131_072

[[plans]]
name = "team"
models = ["*"]
requests_per_minute = 600
daily_tokens = 2_000_000
concurrent_requests = 50

[[plans]]
name = "solo"
models = ["demo-*"]
requests_per_minute = 60
daily_tokens = 100_000
{extra}
"""


@dataclass(slots=True)
class Site:
    """A gateway that serves in this process, and the vendor behind it."""

    gateway: Gateway
    vendor: DemoVendor
    base_url: str

    async def account(
        self, email: str, *, role: str = "user", plan: str = "team", name: str = ""
    ) -> Account:
        """Return an account; it is made when there is none."""
        for each in await self.gateway.accounts.list_accounts():
            if each.email == email:
                return each
        return await self.gateway.accounts.create_account(email, plan, role=role, name=name)

    def log_in(self, account: Account) -> str:
        """Return the token of a session of an account."""
        token = secrets.token_urlsafe(32)
        now = self.gateway.state.clock.unix()
        session = Session(secrets.token_hex(6), account.id, digest(token), now, now)
        self.gateway.sessions.put(session)
        return token

    async def key(self, email: str, label: str) -> str:
        """Return the secret of a new key."""
        _, secret = await self.gateway.accounts.create_key(email, label=label)
        return secret


@asynccontextmanager
async def serving(
    folder: Path,
    extra: str = "",
    *,
    server: str = NOTICE,
    pace_s: float = 0.005,
    clock: Clock | None = None,
    around: Surroundings | None = None,
) -> AsyncIterator[Site]:
    """Run a gateway and its vendor.

    Args:
        extra: more of the configuration.
        server: more of its first table.
        pace_s: seconds between two words of the slow model.
    """
    vendor = DemoVendor(api_key=VENDOR_KEY, pace_s=pace_s)
    await vendor.start()
    text = _TEXT.format(
        folder=folder,
        vendor_url=vendor.base_url,
        vendor_key=VENDOR_KEY,
        server=server,
        extra=extra,
    )
    with (folder / "log").open("wb") as log:
        config = parse(text, "kurolproxy.toml", {})
        gateway = Gateway(config, log_fd=log.fileno(), clock=clock, around=around)
        try:
            await gateway.start()
            try:
                yield Site(gateway, vendor, f"http://{gateway.addresses[0]}")
            finally:
                # First, or the gateway would wait for what still streams.
                await vendor.stop()
                await gateway.stop()
        finally:
            await vendor.stop()


async def fill(site: Site, account: Account, *, days: int = 30) -> None:
    """Let an account have used something on each of the last days."""
    keys = [row["id"] for row in await _keys(site, account)] or ["playground"]
    today = datetime.fromtimestamp(site.gateway.state.clock.unix(), UTC).date()
    await import_rows(site.gateway.database, list(_rows(account.id, keys, today, days)))


async def _keys(site: Site, account: Account) -> list[dict[str, str]]:
    found = await site.gateway.database.read(
        "SELECT id FROM keys WHERE account_id = ? AND revoked_at IS NULL ORDER BY created_at",
        (account.id,),
    )
    return [dict(each) for each in found]


def _rows(account: int, keys: list[str], today: date, days: int) -> Iterator[UsageRow]:
    # Made up, and the same every time: a quiet weekend, the more used model first.
    chance = random.Random(7)
    for back in range(days, 0, -1):
        day = today - timedelta(days=back)
        for number in range(2 if day.weekday() >= 5 else 7):
            prompt = chance.randrange(2_000, 60_000)
            completion = chance.randrange(300, 9_000)
            hour = 8 + number + chance.random()
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
            yield UsageRow(
                request_id=f"req_{account:04d}{back:04d}{number:02d}",
                day=day,
                started_at=midnight + hour * 3_600,
                account_id=account,
                key_id=keys[number % len(keys)],
                model=("demo-echo", "demo-think", "demo-slow")[min(number // 3, 2)],
                upstream="demo",
                client_protocol=("anthropic", "openai-responses", "openai-chat")[number % 3],
                upstream_protocol="openai-chat",
                status=200 if number != 6 else 502,
                outcome="ok" if number != 6 else "upstream_error",
                prompt=prompt,
                completion=completion,
                cache_read=prompt // 2,
                cache_write=0,
                reasoning=completion // 3 if number >= 3 else 0,
                charged=prompt + completion,
                estimated=False,
                streamed=True,
                duration_ms=chance.randrange(900, 24_000),
                ttft_ms=chance.randrange(120, 900),
            )
