"""Lines of a table of sums beside what the rows add up to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from kurolproxy.storage.findings import MOST_IDS, plain
from kurolproxy.storage.usage import COUNTERS, LARGEST_SUM

Values = tuple[Any, ...]
"""Columns of a row, or the place of a line in a table of sums."""

ZEROS: Final = (0,) * len(COUNTERS)


@dataclass(slots=True)
class _Suspects:
    """Rows with a wrong checksum of one place: how many, and the ids of the first."""

    count: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, id_: str) -> None:
        self.count += 1
        if len(self.ids) < MOST_IDS:
            self.ids.append(id_)


@dataclass(slots=True)
class Sums:
    """One table of sums, and what the rows say instead.

    Attributes:
        lines: place -> what the table has, in the order of ``COUNTERS``.
        last: the number of the last row that counts.
        added: place -> the sums of the rows.
        suspects: place -> rows that were changed.
    """

    lines: dict[Values, Values]
    last: int
    added: dict[Values, list[int]] = field(default_factory=dict)
    suspects: dict[Values, _Suspects] = field(default_factory=dict)

    def add(self, place: Values, figures: Values) -> None:
        """Add the figures of a row: what ``COUNTERS`` name but for the requests."""
        sums = self.added.get(place)
        if sums is None:
            sums = self.added[place] = [0] * len(COUNTERS)
        prompt, completion, cache_read, cache_write, reasoning, charged, estimated = figures
        sums[0] += 1
        sums[1] += prompt
        sums[2] += completion
        sums[3] += cache_read
        sums[4] += cache_write
        sums[5] += reasoning
        sums[6] += charged
        sums[7] += estimated

    def suspect(self, place: Values, id_: str) -> None:
        """Note a row that was changed."""
        self.suspects.setdefault(place, _Suspects()).add(id_)

    def unlike(self) -> Iterator[tuple[Values, dict[str, tuple[Any, Any]]]]:
        """Yield each place whose line is not the sum of its rows, and the figures."""
        lines, added = self.lines, self.added
        differing = [place for place, line in lines.items() if line != tuple(added.get(place, ()))]
        for place in sorted({*differing, *(added.keys() - lines.keys())}, key=repr):
            sums = tuple(min(each, LARGEST_SUM) for each in added.get(place, ZEROS))
            figures = unlike(lines.get(place, ZEROS), sums)
            if figures:
                yield place, figures


def unlike(line: Values, sums: Values) -> dict[str, tuple[Any, Any]]:
    """Return the figures in which two lines differ, by their names."""
    pairs = zip(COUNTERS, line, sums, strict=True)
    return {name: (plain(has), plain(should)) for name, has, should in pairs if has != should}
