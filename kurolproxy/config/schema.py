"""The keys of the configuration file: table, name, type, default."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

from kurolproxy.config.model import (
    Dashboard,
    Ledger,
    Limits,
    Log,
    Metrics,
    ModelTable,
    PlanTable,
    PriceTable,
    Seconds,
    Server,
    TargetTable,
    UpstreamTable,
)
from kurolproxy.ir import ModelTraits
from kurolproxy.policy.catalog import Timeouts


@dataclass(frozen=True, slots=True)
class Key:
    """One key of one table.

    Attributes:
        table: how messages call the table: ``[server]``, ``targets of [[models]]``.
        annotation: its type, with range.
        default: what holds when it is left out; None: no value, or that of what it inherits.
        required: the table cannot do without it.
    """

    table: str
    name: str
    annotation: Any
    default: Any = None
    required: bool = False


Keys = Mapping[str, Key]


def keys_of(shape: type, table: str = "") -> dict[str, Key]:
    """Return the fields of a dataclass as keys of a table."""
    hints = get_type_hints(shape, include_extras=True)
    return {
        each.name: Key(
            table,
            each.name,
            hints[each.name],
            _default(each),
            bool(each.metadata.get("required")),
        )
        for each in dataclasses.fields(shape)
    }


def _default(each: dataclasses.Field[Any]) -> Any:
    if each.default_factory is not dataclasses.MISSING:
        return each.default_factory()
    return each.default


def _timeouts(table: str, *, inherited: bool) -> dict[str, Key]:
    return {
        name: Key(table, name, Seconds, None if inherited else key.default)
        for name, key in keys_of(Timeouts, table).items()
    }


SECTIONS: Final[Mapping[str, type]] = {
    "server": Server,
    "limits": Limits,
    "timeouts": Timeouts,
    "ledger": Ledger,
    "metrics": Metrics,
    "log": Log,
    "dashboard": Dashboard,
}
"""The tables that stand once, in the order of the documentation."""

ARRAYS: Final = ("upstreams", "models", "plans")
"""The arrays of tables."""


def label(table: str) -> str:
    """Return the header of a table as the file writes it."""
    return f"[[{table}]]" if table in ARRAYS else f"[{table}]"


def section_keys(name: str) -> dict[str, Key]:
    """Return the keys of a table that stands once."""
    if name == "timeouts":
        return _timeouts(label(name), inherited=False)
    return keys_of(SECTIONS[name], label(name))


def upstream_keys() -> dict[str, Key]:
    """Return the keys of ``[[upstreams]]``."""
    table = label("upstreams")
    return keys_of(UpstreamTable, table) | _timeouts(table, inherited=True)


def model_keys() -> dict[str, Key]:
    """Return the keys of ``[[models]]``: its own, the timeouts and every flag."""
    return _with_flags(ModelTable, label("models"))


def target_keys() -> dict[str, Key]:
    """Return the keys of an element of ``targets``."""
    return _with_flags(TargetTable, f"targets of {label('models')}")


def price_keys() -> dict[str, Key]:
    """Return the keys of ``price``."""
    return keys_of(PriceTable, f"price of {label('models')}")


def plan_keys() -> dict[str, Key]:
    """Return the keys of ``[[plans]]``."""
    return keys_of(PlanTable, label("plans"))


def _with_flags(shape: type, table: str) -> dict[str, Key]:
    # Its own come first: the two figures that are flags too have a range there.
    own = keys_of(shape, table)
    return own | _timeouts(table, inherited=True) | _without(keys_of(ModelTraits, table), own)


def _without(keys: dict[str, Key], names: Keys) -> dict[str, Key]:
    return {name: key for name, key in keys.items() if name not in names}


def every_key() -> list[Key]:
    """Return every key of the file, table by table: what documentation must name."""
    tables = [section_keys(name) for name in SECTIONS]
    tables += [upstream_keys(), model_keys(), target_keys(), price_keys(), plan_keys()]
    return [key for table in tables for key in table.values()]
