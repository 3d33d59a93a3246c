"""Lines of a report as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

# A spreadsheet takes a cell that begins so for a formula; labels are what users typed.
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_lines(columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Return some lines, each with these columns in their order; UTF-8, ended by CR LF."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([_safe(line[name]) for name in columns] for line in lines)
    return text.getvalue().encode()


def csv_head(columns: Sequence[str]) -> bytes:
    """Return the line of the columns' names."""
    return csv_lines(columns, [{name: name for name in columns}])


def _safe(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
