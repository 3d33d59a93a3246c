"""How the attempts at each upstream went in the last hour: counts and times, in bounded memory.

Time is cut into slices of ``SLICE_S``; a slice holds counts and two histograms, and is made
when the first attempt of it ends. The slices of more than an hour ago are used again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import add
from typing import Final

SLICE_S: Final = 15.0
"""Seconds of one slice: a window is at most so much longer than it says."""
LONGEST_S: Final = 3_600.0
"""The longest window there is."""
_SLICES: Final = int(LONGEST_S / SLICE_S) + 1

# Each bound is 1.25 times the one before: what is said of a time is within an eighth of it.
BOUNDS: Final = tuple(0.01 * 1.25**power for power in range(49))
"""Upper ends of the histogram's bins, in seconds: 10 ms to some 7 minutes."""
# 260 bytes each: a busy upstream takes some 160 kB.
_NO_TIMES: Final = array("I", [0] * (len(BOUNDS) + 1))

# What the caller's request was refused for says nothing about who refused it.
_REFUSED: Final = frozenset(
    {"bad_request", "context_too_long", "too_large", "unsupported_media", "unprocessable"}
)
# How attempts ended: with an answer, by the upstream's fault, by the request's, nobody knows.
_KINDS: Final[dict[str, int]] = {"ok": 0, "failed": 1, "refused": 2, "client_gone": 3}
_COUNTS: Final = 4


@dataclass(frozen=True, slots=True)
class Window:
    """The attempts of the last so many seconds.

    Attributes:
        attempts: that ended.
        failed: by the upstream's fault.
        refused: by the request's.
        gone: whose client left first.
        head_p50: median seconds to the head of the answer; None: nothing was measured.
        head_p95: so many seconds or fewer in 95 of 100 attempts.
        content_p50: the same of the first content.
        content_p95: the same of the first content.
    """

    attempts: int = 0
    failed: int = 0
    refused: int = 0
    gone: int = 0
    head_p50: float | None = None
    head_p95: float | None = None
    content_p50: float | None = None
    content_p95: float | None = None

    @property
    def error_rate(self) -> float | None:
        """Failed attempts of those that say something, 0 to 1; None when none does."""
        judged = self.attempts - self.gone
        return self.failed / judged if judged else None


class _Slice:
    """What ended within one slice of time.

    Attributes:
        number: which slice since the clock's zero.
        counts: attempts by how they ended, in the order of ``_KINDS``.
    """

    __slots__ = ("content", "counts", "head", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.counts = [0] * _COUNTS
        self.head: array[int] | None = None
        self.content: array[int] | None = None


class Figures:
    """The figures of all upstreams."""

    def __init__(self) -> None:
        self._rings: dict[str, list[_Slice | None]] = {}
        self._last_failed: dict[str, tuple[float, str]] = {}

    def add(
        self,
        upstream: str,
        outcome: str,
        now: float,
        *,
        head_s: float | None = None,
        content_s: float | None = None,
    ) -> None:
        """Count an attempt that has ended.

        Args:
            outcome: ``ok``, ``client_gone`` or the kind of the error.
            now: seconds of a monotonic clock.
            head_s: seconds from its start to the head of the answer; None: none came.
            content_s: seconds to the first content, or to the whole of an answer that is
                not streamed; None: none came.
        """
        ring = self._rings.get(upstream)
        if ring is None:
            ring = self._rings[upstream] = [None] * _SLICES
        number = int(now // SLICE_S)
        found = ring[number % _SLICES]
        if found is None or found.number != number:
            found = ring[number % _SLICES] = _Slice(number)
        index = _KINDS.get(outcome)
        if index is None:
            index = _KINDS["refused" if outcome in _REFUSED else "failed"]
            if index == 1:
                self._last_failed[upstream] = (now, outcome)
        found.counts[index] += 1
        if head_s is not None:
            if found.head is None:
                found.head = _NO_TIMES[:]
            found.head[bisect_left(BOUNDS, head_s)] += 1
        if content_s is not None:
            if found.content is None:
                found.content = _NO_TIMES[:]
            found.content[bisect_left(BOUNDS, content_s)] += 1

    def window(self, upstream: str, seconds: float, now: float) -> Window:
        """Return what ended in the last so many seconds, and up to ``SLICE_S`` before.

        Args:
            seconds: at most ``LONGEST_S``.
        """
        counts = [0] * _COUNTS
        head, content = [*_NO_TIMES], [*_NO_TIMES]
        for each in self._since(upstream, seconds, now):
            counts = [*map(add, counts, each.counts)]
            if each.head is not None:
                head = [*map(add, head, each.head)]
            if each.content is not None:
                content = [*map(add, content, each.content)]
        _, failed, refused, gone = counts
        return Window(
            attempts=sum(counts),
            failed=failed,
            refused=refused,
            gone=gone,
            head_p50=percentile(head, 0.5),
            head_p95=percentile(head, 0.95),
            content_p50=percentile(content, 0.5),
            content_p95=percentile(content, 0.95),
        )

    def last_failure(self, upstream: str, now: float) -> tuple[float, str] | None:
        """Return how many seconds ago an attempt failed last, and the kind of its error."""
        found = self._last_failed.get(upstream)
        return None if found is None else (now - found[0], found[1])

    def keep(self, upstreams: Collection[str]) -> None:
        """Forget the upstreams that a reloaded configuration has no more."""
        self._rings = {name: each for name, each in self._rings.items() if name in upstreams}
        kept = {name: each for name, each in self._last_failed.items() if name in upstreams}
        self._last_failed = kept

    def _since(self, upstream: str, seconds: float, now: float) -> Iterator[_Slice]:
        first = int((now - seconds) // SLICE_S)
        for each in self._rings.get(upstream, ()):
            if each is not None and each.number >= first:
                yield each


def percentile(counts: Sequence[int], share: float) -> float | None:
    """Return the value that a share of all observations is not above, as exactly as bins tell.

    Args:
        counts: of each bin of ``BOUNDS``, and of what is above the last.
        share: 0 to 1.

    Returns:
        None when nothing was observed; the last bound for what is above it.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    below = 0
    for index, count in enumerate(counts[:-1]):
        if count and below + count >= wanted:
            low = BOUNDS[index - 1] if index else 0.0
            return low + (BOUNDS[index] - low) * (wanted - below) / count
        below += count
    return BOUNDS[-1]
