"""What a ``retry-after`` says, in its two forms."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from kurolproxy.upstream import retrying

THEN = "Wed, 21 Oct 2015 07:28:00 GMT"

SAID: list[tuple[str | None, str | None, float | None]] = [
    (None, None, None),
    ("7", None, 7.0),
    (" 7 ", None, 7.0),
    ("0.5", None, 0.5),
    ("-3", None, 0.0),
    ("soon", None, None),
    ("", None, None),
    ("nan", None, None),
    ("inf", None, None),
    ("1e999", None, None),
    ("Wed, 21 Oct 2015 07:28:09 GMT", THEN, 9.0),
    ("Wednesday, 21-Oct-15 07:29:00 GMT", THEN, 60.0),
    ("Wed Oct 21 07:28:30 2015", THEN, 30.0),
    ("Wed, 21 Oct 2015 07:27:00 GMT", THEN, 0.0),
    (THEN, None, 0.0),
    (THEN, "yesterday", 0.0),
    ("Wed, 99 Oct 2015 07:28:00 GMT", THEN, None),
    ("Wed, 21 Oct 99999 07:28:00 GMT", THEN, None),
]


@pytest.mark.parametrize(("retry_after", "date", "wanted"), SAID)
def test_every_form_is_read(
    retry_after: str | None, date: str | None, wanted: float | None
) -> None:
    assert retrying.seconds(retry_after, date) == wanted


def test_date_of_an_upstream_that_tells_no_time_counts_by_our_clock() -> None:
    found = retrying.seconds(formatdate(time.time() + 100, usegmt=True), None)
    assert found is not None
    assert 60 < found <= 100
