"""Rows of calls that nobody made."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from kurolproxy.storage.rows import UsageRow
from tests.storage.usage_rows import row


def rows() -> Iterator[UsageRow]:
    """Yield rows of calls, for ever."""
    for number in count():
        yield row(
            f"req_{number:026}",
            started_at=1_772_409_600.0 + number,
            account_id=number % 50,
            key_id=f"key_{number % 50}",
        )
