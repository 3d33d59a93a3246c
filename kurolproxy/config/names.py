"""Names in a configuration file: each used once, each reference leads somewhere."""

from __future__ import annotations

from typing import get_args

from kurolproxy.config.positions import Path
from kurolproxy.config.problems import Report, did_you_mean
from kurolproxy.config.reading import Spot, valid
from kurolproxy.ir import ProtocolName

_MAX_CHARS = 200
_PROTOCOLS: dict[str, ProtocolName] = {each: each for each in get_args(ProtocolName)}


class Names:
    """The names of one kind: each may be used once.

    Args:
        what: how messages call one of them: ``upstream``.
    """

    def __init__(self, report: Report, what: str) -> None:
        self._report = report
        self._what = what
        self._seen: dict[str, Path] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._seen

    def claim(self, name: str, path: Path) -> None:
        """Take a name that stands at ``path``; note when it is not usable or taken."""
        if not 0 < len(name) <= _MAX_CHARS or not name.isprintable() or name != name.strip():
            rule = f"1 to {_MAX_CHARS} printable characters, the outer ones no spaces"
            self._report.error(path, f"the {self._what} {self._shown(path)} must have {rule}")
        elif name in self._seen:
            line = self._report.line(self._seen[name])
            taken = f"is used already in line {line}"
            self._report.error(path, f"the {self._what} {self._shown(path)} {taken}")
        self._seen.setdefault(name, path)

    def suggest(self, wrong: str) -> str:
        """Return ``; did you mean "..."?``; a name that was resolved is not suggested."""
        plain = [name for name, path in self._seen.items() if self._report.written(path) == name]
        return did_you_mean(wrong, plain)

    def _shown(self, path: Path) -> str:
        return self._report.quote(path)


def read_protocols(
    spot: Spot, names: tuple[str, ...], available: tuple[ProtocolName, ...]
) -> tuple[ProtocolName, ...]:
    """Return the protocols that an array names.

    Returns:
        none at all when one is wrong, which is noted: what depends on them is not judged.
    """
    if not names:
        spot.error("must name at least one protocol")
    found: list[ProtocolName] = []
    for index, name in valid(names):
        item = spot.item(index)
        fault = _protocol_fault(item, name, available)
        if fault is None and name in found:
            fault = f"protocol {item.quote()} is named twice"
        if fault is None:
            found.append(_PROTOCOLS[name])
        else:
            item.report.error(item.path, fault)
    return tuple(found) if len(found) == len(names) else ()


def _protocol_fault(item: Spot, name: str, available: tuple[ProtocolName, ...]) -> str | None:
    if name not in _PROTOCOLS:
        hint = did_you_mean(name, _PROTOCOLS)
        return f"unknown protocol {item.quote()}{hint}"
    if name not in available:
        return f"protocol {item.quote()} is not in this version (it has: {', '.join(available)})"
    return None
