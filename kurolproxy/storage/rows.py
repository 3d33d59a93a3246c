"""One row of the ledger, and the line of the journal that holds it.

A line is a head of 22 bytes, the row as a JSON array, and a line feed:

    u 5 hex digits: its number in the file
      8 hex digits: CRC-32 of the number and the array
      8 hex digits: bytes of the array

The length says where a line ends also when the line feed is damaged; the line feed says
where the next one begins when the head is. The number shows that a line is missing. The
last line of a file that was closed has the mark ``e`` instead of ``u`` and no row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final, NamedTuple
from zlib import crc32

import msgspec

from kurolproxy.tokens import MAX_TOKENS_COUNTED

HEAD_BYTES: Final = 22
_MOST_IN_A_FILE: Final = 0xFFFFF
_ROW: Final = ord("u")
_END: Final = ord("e")
_LARGEST_LINE: Final = 1_000_000
# The end of the year 9999, as far as dates go.
_LAST_SECOND: Final = 253_402_300_799.0

# Whatever a line holds that was not written by this version: what the database would
# refuse is read as damage, or one row would hold up all others for ever.
_Figure = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS_COUNTED)]
_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Moment = Annotated[float, msgspec.Meta(ge=0.0, le=_LAST_SECOND)]


class UsageRow(NamedTuple):
    """One request of a client, as the ledger keeps it.

    A tuple, because one is made for every request.

    Attributes:
        request_id: ours, never a client's: what counts a row once.
        day: the UTC day of admission.
        started_at: unix seconds.
        status: the HTTP status that the client saw.
        outcome: one word for how it ended, as the metric has it.
        charged: what it counted against the allowance.
        estimated: the usage was not reported, or not whole.
        ttft_ms: milliseconds to the first token; None when there was none.
    """

    request_id: str
    day: date
    started_at: _Moment
    account_id: _Id
    key_id: str
    model: str
    upstream: str
    client_protocol: str
    upstream_protocol: str
    status: _Figure
    outcome: str
    prompt: _Figure
    completion: _Figure
    cache_read: _Figure
    cache_write: _Figure
    reasoning: _Figure
    charged: _Figure
    estimated: bool
    streamed: bool
    duration_ms: _Figure
    ttft_ms: _Figure | None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(UsageRow).decode


def cleaned(row: UsageRow) -> UsageRow:
    """Return a row that JSON and the database can hold.

    Figures are from 0 to 10^9: SQLite turns an integer over 2^63 into a REAL without a
    word. Texts have no lone surrogates, and a moment is one of the years that dates have:
    one row without would hold up all others.
    """
    if _is_clean(row):
        return row
    return UsageRow(
        request_id=row.request_id,
        day=row.day,
        # In this order no number becomes 0, too.
        started_at=min(max(0.0, row.started_at), _LAST_SECOND),
        account_id=row.account_id,
        key_id=_text(row.key_id),
        model=_text(row.model),
        upstream=_text(row.upstream),
        client_protocol=row.client_protocol,
        upstream_protocol=row.upstream_protocol,
        status=_clamp(row.status),
        outcome=_text(row.outcome),
        prompt=_clamp(row.prompt),
        completion=_clamp(row.completion),
        cache_read=_clamp(row.cache_read),
        cache_write=_clamp(row.cache_write),
        reasoning=_clamp(row.reasoning),
        charged=_clamp(row.charged),
        estimated=row.estimated,
        streamed=row.streamed,
        duration_ms=_clamp(row.duration_ms),
        ttft_ms=None if row.ttft_ms is None else _clamp(row.ttft_ms),
    )


def _is_clean(row: UsageRow) -> bool:
    """Return whether nothing is to be changed: nearly always, and found in a third of the time."""
    return (
        (row.key_id + row.model + row.upstream + row.outcome).isascii()
        and 0.0 <= row.started_at <= _LAST_SECOND
        and 0 <= row.prompt <= MAX_TOKENS_COUNTED
        and 0 <= row.completion <= MAX_TOKENS_COUNTED
        and 0 <= row.cache_read <= MAX_TOKENS_COUNTED
        and 0 <= row.cache_write <= MAX_TOKENS_COUNTED
        and 0 <= row.reasoning <= MAX_TOKENS_COUNTED
        and 0 <= row.charged <= MAX_TOKENS_COUNTED
        and 0 <= row.status <= MAX_TOKENS_COUNTED
        and 0 <= row.duration_ms <= MAX_TOKENS_COUNTED
        and (row.ttft_ms is None or 0 <= row.ttft_ms <= MAX_TOKENS_COUNTED)
    )


def _clamp(value: int) -> int:
    return min(max(value, 0), MAX_TOKENS_COUNTED)


def _text(value: str) -> str:
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def encode_row(row: UsageRow) -> bytes:
    """Return a row as JSON: what its checksum is of."""
    return _encode(row)


def checksum(encoded: bytes) -> int:
    """Return the checksum that the database keeps beside a row."""
    return crc32(encoded)


def line(encoded: bytes, number: int) -> bytes:
    """Return the line of a row.

    Args:
        encoded: as ``encode_row`` made it.
        number: of the line in its file, from 0.
    """
    return _line(_ROW, encoded, number)


def end_line(number: int) -> bytes:
    """Return the line that ends a file of ``number`` rows."""
    return _line(_END, b"", number)


def _line(mark: int, encoded: bytes, number: int) -> bytes:
    number &= _MOST_IN_A_FILE
    return b"%c%05x%08x%08x%s\n" % (mark, number, crc32(encoded, number), len(encoded), encoded)


@dataclass(frozen=True, slots=True)
class Line:
    """One line that was read.

    Attributes:
        start: where it begins in the file.
        end: where the next one begins.
        number: of the line in the file; None when the line is damaged.
        row: None when the line is damaged, or ends the file.
        last: it ends the file.
    """

    start: int
    end: int
    number: int | None = None
    row: UsageRow | None = None
    last: bool = False

    @property
    def damaged(self) -> bool:
        """Whether nothing could be read here."""
        return self.number is None


def read_lines(data: bytes, start: int = 0) -> Iterator[Line]:
    """Read lines, stepping over damaged ones.

    A line that is not whole at the end of the data comes as a damaged one: whoever reads
    in pieces cuts them at line feeds, or begins anew at its ``start``.

    Args:
        data: what stands in the file from ``start`` on; a line begins there.
    """
    at = 0
    while at < len(data):
        found = _whole(data, at, start)
        if found is None:
            feed = data.find(b"\n", at)
            found = Line(start + at, start + (len(data) if feed < 0 else feed + 1))
        yield found
        at = found.end - start


def _whole(data: bytes, at: int, start: int) -> Line | None:
    """Return the line at a place, or None when it is damaged."""
    head = data[at : at + HEAD_BYTES]
    if len(head) < HEAD_BYTES or head[0] not in (_ROW, _END):
        return None
    try:
        number, told, size = int(head[1:6], 16), int(head[6:14], 16), int(head[14:], 16)
    except ValueError:
        return None
    end = at + HEAD_BYTES + size
    # The line feed is not looked at: a damaged one costs nothing. Digits may have a sign.
    if not 0 <= size <= _LARGEST_LINE or end >= len(data):
        return None
    encoded = data[at + HEAD_BYTES : end]
    if crc32(encoded, number) != told:
        return None
    if head[0] == _END:
        return Line(start + at, start + end + 1, number, last=True)
    try:
        row = _decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Line(start + at, start + end + 1, number, row)
