"""The configuration as it takes effect, line by line, each with the place that it comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kurolproxy.config.effective import effective
from kurolproxy.config.model import Config
from kurolproxy.config.positions import Path
from kurolproxy.config.schema import ARRAYS, SECTIONS
from kurolproxy.ir import ModelTraits
from kurolproxy.policy.catalog import Timeouts

Line = tuple[str, str, str]
"""A key by its path, its value as text, and ``file:line``; "" where the file says nothing."""

_NAMES: Final[Mapping[str, str]] = {"upstreams": "name", "models": "id", "plans": "name"}
_PLAIN_FLAGS: Final = dataclasses.asdict(ModelTraits())
_TIMEOUTS: Final = frozenset(Timeouts.__dataclass_fields__)
# What a preset fills in, unless the key itself is there.
_OF_PRESET: Final = frozenset({"protocols", "base_url", "paths", "auth_header", "query"})


def explained(config: Config) -> list[Line]:
    """Return every key of the configuration in use, in the order of the documentation.

    Secrets are ``***``, see ``effective``. What a table inherits (a timeout, a flag, what a
    preset fills in) has the place that it is inherited from.
    """
    places = _Places(config)
    value = effective(config)
    lines = [line for name in SECTIONS for line in _section(name, value[name], places)]
    for array in ARRAYS:
        for index, entry in enumerate(value[array]):
            lines += _entry(array, index, entry, places)
    return lines


def place_of(config: Config, array: str, index: int) -> str:
    """Return where an element of an array of tables begins."""
    return _Places(config).first([(array, index)])


class _Places:
    """Where the file of a configuration says something."""

    def __init__(self, config: Config) -> None:
        self._name = config.name
        self._found = config.positions.found
        self.upstreams = {name: index for index, name in enumerate(config.catalog.upstreams)}

    def first(self, paths: Sequence[Path]) -> str:
        """Return the place of the first of some paths that is in the file; "" when none is."""
        for path in paths:
            if path in self._found:
                return f"{self._name}:{self._found[path].line}"
        return ""


def _section(name: str, values: dict[str, Any], places: _Places) -> Iterator[Line]:
    for key, value in values.items():
        yield f"{name}.{key}", _text(value), places.first([(name, key)])


def _entry(array: str, index: int, entry: dict[str, Any], places: _Places) -> Iterator[Line]:
    title = f"{array}.{entry[_NAMES[array]]}"
    for key, value in entry.items():
        if key == "targets":
            for number, target in enumerate(value):
                yield from _target(title, index, number, target, places)
        else:
            yield f"{title}.{key}", _text(value), places.first(_paths(array, index, key))


def _paths(array: str, index: int, key: str) -> list[Path]:
    """Return where a key of an element may come from, the nearest first."""
    at: Path = (array, index)
    if array != "upstreams" or key not in _OF_PRESET:
        return [(*at, key)]
    own = "api_version" if key == "query" else key
    return [(*at, own), (*at, "preset")]


def _target(
    title: str, index: int, number: int, target: dict[str, Any], places: _Places
) -> Iterator[Line]:
    model: Path = ("models", index)
    upstream: Path = ("upstreams", places.upstreams[target["upstream"]])
    for key, value in target.items():
        paths = [(*model, "targets", number, key), (*model, key)]
        if key in _TIMEOUTS:
            paths += [(*upstream, key), ("timeouts", key)]
        elif key == "protocols":
            paths += [(*upstream, key), (*upstream, "preset")]
        elif value != _PLAIN_FLAGS.get(key, value):
            paths.append((*upstream, "preset"))
        yield f"{title}.targets.{number + 1}.{key}", _text(value), places.first(paths)


def _text(value: Any) -> str:
    """Return a value for people; "" for what is not set."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_text(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)
