"""Clocks that a test sets, and gateways that run by them, also one after the other."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from pathlib import Path

from kurolproxy.app import Gateway
from kurolproxy.config.load import parse
from kurolproxy.server.exchange import Exchange
from kurolproxy.server.state import Clock
from tests.conftest import Running, new_key
from tests.fakes.answers import Answer, chat_answer

YES, NO = 200, 429
"""Let in, and refused."""
EACH = 18
"""What the vendor tells of a call, and so what it is charged."""


class Wall:
    """A wall clock that jumps, and a monotonic one that only goes on."""

    def __init__(self, text: str) -> None:
        self.now = 1_000.0
        self.unix = 0.0
        self.show(text)
        self.clock = Clock(lambda: self.now, lambda: self.unix)

    def show(self, text: str) -> None:
        """Set the wall clock: ``2026-03-02 23:59:59``, UTC."""
        self.unix = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    def wait(self, seconds: float) -> None:
        """Let time go on for both."""
        self.now += seconds
        self.unix += seconds


class Noting:
    """A clock that notes when each call was admitted or refused, by its own time.

    Args:
        now: milliseconds of the monotonic clock; asked once for each admission.
        unix_ms: what the wall clock shows when that is 0.
    """

    def __init__(self, now: Callable[[], int], unix_ms: int = 0) -> None:
        self.asked: list[int] = []
        self.days: dict[str, date] = {}
        self._read = now
        self._unix_ms = unix_ms
        self._at = now()
        self.clock = Clock(self._now, self._unix)

    def _now(self) -> float:
        frame = sys._getframe(1)
        if frame.f_code is Exchange.admit.__code__:
            self._at = self._read()
            self.asked.append(self._at)
            day = datetime.fromtimestamp((self._unix_ms + self._at) / 1_000, UTC).date()
            self.days[frame.f_locals["self"].id] = day
        return self._at / 1_000

    def _unix(self) -> float:
        return (self._unix_ms + self._at) / 1_000


@contextlib.asynccontextmanager
async def serving(text: str, folder: Path, clock: Clock) -> AsyncIterator[Running]:
    """Run a gateway by a clock; the next one in the same folder goes on with its ledger."""
    text = text.replace('state_dir = "state"', f'state_dir = "{folder / "state"}"')
    with (folder / "log").open("ab") as log:
        gateway = Gateway(parse(text, "test.toml", {}), log_fd=log.fileno(), clock=clock)
        await gateway.start()
        try:
            host, port = gateway.addresses[0]
            key = await new_key(gateway, "someone@example.org", "default")
            yield Running(gateway, f"http://{host}:{port}", key, folder / "log")
        finally:
            await gateway.stop()


def answer(tokens: int = EACH) -> Answer:
    """Answer one Chat call that cost so many tokens."""
    return chat_answer(tokens - 10, 10)


def duration_s(text: str) -> int:
    """Return the seconds of a Go duration that has no sign."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(\d+)s", text)
    assert found is not None
    hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return hours * 3_600 + minutes * 60 + seconds
