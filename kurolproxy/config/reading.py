"""One table of the file -> its valid values; everything else in it becomes a problem."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from kurolproxy.config.model import LARGEST, ONE_OR_MANY, Check
from kurolproxy.config.positions import Path
from kurolproxy.config.problems import Report, did_you_mean, quote
from kurolproxy.config.schema import Keys, keys_of
from kurolproxy.config.secrets import BROKEN

_SCALARS: Mapping[Any, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
_KINDS: Mapping[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    list: "an array",
    dict: "a table",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Spot:
    """One value of the file.

    Attributes:
        path: where it stands.
        name: what messages call it: ``api_keys[0]``.
        title: what messages call its table: ``[[upstreams]]``.
    """

    report: Report
    path: Path
    name: str
    title: str

    def item(self, index: int) -> Spot:
        """Return an element of an array."""
        return Spot(self.report, (*self.path, index), f"{self.name}[{index}]", self.title)

    def member(self, key: str) -> Spot:
        """Return a value of a table."""
        return Spot(self.report, (*self.path, key), f"{self.name}.{_bare(key)}", self.title)

    def error(self, fault: str) -> None:
        """Note what is wrong with this value."""
        self.report.error(self.path, f"{self.name} in {self.title}: {fault}")

    def warn(self, message: str) -> None:
        """Note what the operator should know about this value."""
        self.report.warn(self.path, message)

    def quote(self) -> str:
        """Return this value, a string, as the file writes it."""
        return self.report.quote(self.path)


class Table:
    """What was read of one table.

    Args:
        path: the table itself.
        title: how messages call the table.
        given: the keys that the file has, valid or not.
        values: the valid values among them.
    """

    def __init__(
        self,
        report: Report,
        path: Path,
        title: str,
        given: frozenset[str],
        values: Mapping[str, Any],
    ) -> None:
        self.report = report
        self.path = path
        self.title = title
        self.given = given
        self.values = values

    def spot(self, name: str) -> Spot:
        """Return a key of this table."""
        return Spot(self.report, (*self.path, name), name, self.title)

    def only(self, names: frozenset[str]) -> dict[str, Any]:
        """Return the valid values of some keys."""
        return {name: value for name, value in self.values.items() if name in names}

    def without(self, names: frozenset[str]) -> dict[str, Any]:
        """Return the valid values of all keys but some."""
        return {name: value for name, value in self.values.items() if name not in names}

    def error(self, name: str, message: str) -> None:
        """Note what is wrong with one key."""
        self.report.error((*self.path, name), message)

    def lacks(self, name: str, hint: str) -> None:
        """Note that a key is missing, unless it is there and faulty."""
        if name not in self.given:
            self.report.error(self.path, f"{name} is missing in {self.title}: {hint}")

    def warn(self, message: str) -> None:
        """Note what the operator should know about this table."""
        self.report.warn(self.path, message)


def read_table(report: Report, path: Path, title: str, value: Any, keys: Keys) -> Table:
    """Read one table.

    Args:
        title: how messages call it: ``[server]``.
        value: the table, references resolved; of another type: that is the problem.
        keys: what may stand in it.
    """
    if not isinstance(value, dict):
        if value is not BROKEN:
            report.error(path, f"expected {title} to be a table, got {_kind(value)}")
        return Table(report, path, title, frozenset(keys), {})
    values: dict[str, Any] = {}
    for name, each in value.items():
        key = keys.get(name)
        if key is None:
            hint = did_you_mean(name, keys)
            report.error((*path, name), f"unknown key {quote(name)} in {title}{hint}")
            continue
        got = _read(Spot(report, (*path, name), name, title), each, key.annotation)
        if got is not BROKEN:
            values[name] = got
    table = Table(report, path, title, frozenset(value), values)
    _require(table, keys)
    return table


def _require(table: Table, keys: Keys) -> None:
    for name, key in keys.items():
        if not key.required:
            continue
        if name not in table.given:
            table.report.error(table.path, f"{name} is missing in {table.title}")
        elif name in table.values and not table.values[name]:
            table.spot(name).error("must not be empty")


def _read(spot: Spot, value: Any, annotation: Any) -> Any:
    """Return a value of the annotated type, or ``BROKEN`` when its problems were noted."""
    if value is BROKEN:
        return BROKEN
    wanted, many = _unwrap(annotation)
    if get_origin(wanted) is tuple:
        return _array(spot, value, wanted, one_or_many=many)
    if get_origin(wanted) is Mapping:
        return _mapping(spot, value, wanted)
    if get_origin(wanted) is dict:
        # An element that is read later, by keys of its own: only its kind counts here.
        return value if isinstance(value, dict) else _mismatch(spot, value, wanted)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        title = f"{spot.name} of {spot.title}"
        return wanted(**read_table(spot.report, spot.path, title, value, keys_of(wanted)).values)
    return _scalar(spot, value, wanted)


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """Return the type without its ``| None`` (TOML has no null), and whether one may do."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not types.NoneType)
    if get_origin(annotation) is Annotated and ONE_OR_MANY in annotation.__metadata__:
        return get_args(annotation)[0], True
    return annotation, False


def _array(spot: Spot, value: Any, wanted: Any, *, one_or_many: bool) -> Any:
    element = get_args(wanted)[0]
    if one_or_many and isinstance(value, str):
        return (_read(spot, value, element),)
    if not isinstance(value, list):
        return _mismatch(spot, value, wanted, "a string or " if one_or_many else "")
    # A broken element keeps its place, so that the others are still judged: see valid().
    return tuple(_read(spot.item(index), each, element) for index, each in enumerate(value))


def _mapping(spot: Spot, value: Any, wanted: Any) -> Any:
    element = get_args(wanted)[1]
    if not isinstance(value, dict):
        return _mismatch(spot, value, wanted)
    return {name: _read(spot.member(name), each, element) for name, each in value.items()}


def _scalar(spot: Spot, value: Any, wanted: Any) -> Any:
    try:
        converted = msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        # Its text can hold the value.
        return _mismatch(spot, value, wanted)
    for check in getattr(wanted, "__metadata__", ()):
        fault = check.fault(converted) if isinstance(check, Check) else None
        if fault is not None:
            spot.error(fault)
            return BROKEN
    return converted


def valid(items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Return the elements of an array that were read without a problem, and their places."""
    return ((index, each) for index, each in enumerate(items) if each is not BROKEN)


def _mismatch(spot: Spot, value: Any, wanted: Any, more: str = "") -> Any:
    got = _kind(value)
    if isinstance(value, str) and get_origin(wanted) is Literal:
        got = spot.quote()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        got = str(value)
    spot.error(f"expected {more}{_describe(wanted)}, got {got}")
    return BROKEN


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a date or time")


def _describe(wanted: Any) -> str:
    """Return a type in words: ``a whole number of at least 1``."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        return _describe(arguments[0]) + _range(wanted.__metadata__[0])
    if origin is Literal:
        return " or ".join(quote(each) for each in arguments)
    if origin is tuple:
        return "an array of strings" if _describe(arguments[0]) == "a string" else "an array"
    if origin is Mapping:
        return "a table of strings"
    return _SCALARS.get(wanted, "a table")


def _range(limits: object) -> str:
    if not isinstance(limits, msgspec.Meta):
        return ""
    if limits.le == LARGEST:
        return f" of at least {limits.ge}"
    if limits.ge is None:
        return f" above {limits.gt} and up to {limits.le}"
    return f" from {limits.ge} to {limits.le}"


def _bare(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quote(name)
