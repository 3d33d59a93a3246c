"""When an upstream may be asked again: the ``retry-after`` of its answer, in seconds."""

from __future__ import annotations

import math
import time
from datetime import UTC
from email.utils import parsedate_to_datetime


def seconds(retry_after: str | None, date: str | None) -> float | None:
    """Return the seconds that a ``retry-after`` asks for; None when it says nothing of use.

    Args:
        retry_after: a number, or a date of HTTP.
        date: when the upstream wrote that, by its own clock, so that a difference between
            our clocks does not count.

    Source: RFC 9110, section 10.2.3.
    """
    if retry_after is None:
        return None
    try:
        found = float(retry_after)
    except ValueError:
        until = _moment(retry_after)
        if until is None:
            return None
        written = _moment(date) if date is not None else None
        found = until - (time.time() if written is None else written)
    return max(0.0, found) if math.isfinite(found) else None


def _moment(text: str) -> float | None:
    """Return a date of HTTP as seconds since 1970."""
    try:
        read = parsedate_to_datetime(text)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError):
        return None
