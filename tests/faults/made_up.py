"""Rows of calls that nobody made."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import count

from kurolproxy.storage.rows import UsageRow


def rows() -> Iterator[UsageRow]:
    """Yield rows of calls, for ever."""
    for number in count():
        yield UsageRow(
            request_id=f"req_{number:026}",
            day=date(2026, 3, 2),
            started_at=1_772_409_600.0 + number,
            account_id=number % 50,
            key_id=f"key_{number % 50}",
            model="m",
            upstream="u",
            client_protocol="openai-chat",
            upstream_protocol="openai-chat",
            status=200,
            outcome="ok",
            prompt=10,
            completion=5,
            cache_read=0,
            cache_write=0,
            reasoning=0,
            charged=15,
            estimated=False,
            streamed=True,
            duration_ms=7,
            ttft_ms=None,
        )
