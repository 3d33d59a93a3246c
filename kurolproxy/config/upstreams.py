"""``[[upstreams]]``: presets and the file's own words become the catalog's upstreams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kurolproxy.config.addresses import header_name_fault
from kurolproxy.config.model import UpstreamTable
from kurolproxy.config.names import Names, read_protocols
from kurolproxy.config.presets import PRESETS, Preset, offered
from kurolproxy.config.problems import Report, did_you_mean, quote
from kurolproxy.config.reading import Table, read_table, valid
from kurolproxy.config.redaction import is_secret_header
from kurolproxy.config.schema import label, section_keys, upstream_keys
from kurolproxy.ir import ModelTraits, ProtocolName
from kurolproxy.policy.catalog import Upstream

_TITLE = label("upstreams")


@dataclass(frozen=True, slots=True)
class Known:
    """An upstream, and what only its models need to know.

    Attributes:
        traits: its preset's.
        timeouts: those that it sets itself.
    """

    upstream: Upstream
    traits: ModelTraits
    timeouts: Mapping[str, float]


class Upstreams:
    """Every upstream of a file, the faulty ones too: models may refer to them.

    Args:
        entries: the elements of the array, references resolved.
        available: the protocols that this version speaks.
    """

    def __init__(
        self, report: Report, entries: list[Any], available: tuple[ProtocolName, ...]
    ) -> None:
        self.names = Names(report, "upstream name")
        self.known: dict[str, Known] = {}
        keys = upstream_keys()
        timeouts = frozenset(section_keys("timeouts"))
        for index, entry in enumerate(entries):
            table = read_table(report, ("upstreams", index), _TITLE, entry, keys)
            row = UpstreamTable(**table.without(timeouts))
            known = _Entry(table, row, available).read(table.only(timeouts))
            if row.name:
                self.names.claim(row.name, (*table.path, "name"))
                self.known.setdefault(row.name, known)


class _Entry:
    """One upstream while it is read."""

    def __init__(
        self, table: Table, row: UpstreamTable, available: tuple[ProtocolName, ...]
    ) -> None:
        self._table = table
        self._row = row
        self._available = available
        # What a faulty preset would have given is not asked for.
        self._forgiven = "preset" in table.given and row.preset not in PRESETS
        self._preset = PRESETS.get(row.preset or "", Preset(protocols=(), needs_key=False))

    def read(self, timeouts: Mapping[str, float]) -> Known:
        self._check_preset()
        protocols = self._protocols()
        upstream = Upstream(
            name=self._row.name,
            protocols=protocols,
            base_url=self._base_url(),
            paths=MappingProxyType({**self._preset.paths, **self._paths(protocols)}),
            api_keys=tuple(key for _, key in valid(self._row.api_keys)),
            auth_header=self._preset.auth_header,
            query=MappingProxyType(self._query()),
            headers=MappingProxyType(self._headers()),
            proxy=self._row.proxy,
            max_concurrent=self._row.max_concurrent,
            trace=self._row.trace,
        )
        self._check_credential(upstream)
        return Known(upstream, self._preset.traits, timeouts)

    def _check_preset(self) -> None:
        name = self._row.preset
        if name is None or name in PRESETS:
            return
        hint = did_you_mean(name, PRESETS) or f" (there are: {', '.join(PRESETS)})"
        shown = self._table.spot("preset").quote()
        self._table.error("preset", f"unknown preset {shown}{hint}")

    def _protocols(self) -> tuple[ProtocolName, ...]:
        if self._row.protocols is not None:
            spot = self._table.spot("protocols")
            return read_protocols(spot, self._row.protocols, self._available)
        found = offered(self._preset, self._available)
        if found or self._forgiven or "protocols" in self._table.given:
            return found
        if self._row.preset is None:
            self._table.lacks("protocols", "name what it speaks, or a preset")
            return ()
        needs, has = self._preset.protocols[0], ", ".join(self._available)
        self._table.error(
            "preset",
            f"preset {self._table.spot('preset').quote()} needs the protocol {quote(needs)},"
            f" which is not in this version (it has: {has})",
        )
        return ()

    def _base_url(self) -> str:
        if self._preset.base_url is None and not self._forgiven:
            hint = self._preset.hint
            self._table.lacks(
                "base_url", f"for example {hint}" if hint else "name the server, or a preset"
            )
        return (self._row.base_url or self._preset.base_url or "").rstrip("/")

    def _paths(self, protocols: tuple[ProtocolName, ...]) -> dict[ProtocolName, str]:
        paths: dict[ProtocolName, str] = {}
        spoken = {each: each for each in protocols}
        for name, path in self._row.paths.items():
            if name in spoken:
                paths[spoken[name]] = path
            elif protocols:
                spot = self._table.spot("paths").member(name)
                spot.error(f"not a protocol of this upstream (it has: {', '.join(protocols)})")
        return paths

    def _query(self) -> dict[str, str]:
        version, parameter = self._row.api_version, self._preset.version_query
        if parameter is None:
            if version is not None and not self._forgiven:
                self._table.error("api_version", "api_version is for preset azure only")
            return {}
        if version:
            return {parameter: version}
        if not self._row.paths:
            self._table.lacks("api_version", 'for example "2024-10-21"')
        return {}

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, value in self._row.headers.items():
            fault = header_name_fault(name)
            if fault is None and name.lower() in headers:
                fault = "given twice (letter case does not count)"
            if fault is not None:
                self._table.spot("headers").member(name).error(fault)
            if isinstance(value, str):  # a value that was not read keeps its place only
                headers[name.lower()] = value
        return headers

    def _check_credential(self, upstream: Upstream) -> None:
        if upstream.api_keys or "api_keys" in self._table.given or not self._preset.needs_key:
            return
        if not any(map(is_secret_header, upstream.headers)):
            shown = self._table.spot("preset").quote()
            self._table.warn(f"no api_keys: preset {shown} answers nothing without one")
