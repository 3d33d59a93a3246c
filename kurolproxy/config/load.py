"""One TOML file -> one Config, or every problem that it has."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kurolproxy.config.model import Config
from kurolproxy.config.models import Models, Plans
from kurolproxy.config.positions import Positions, locate
from kurolproxy.config.presets import AVAILABLE
from kurolproxy.config.problems import ConfigError, Problem, Report, did_you_mean, quote
from kurolproxy.config.redaction import is_secret_place, secrets_of, warn_of_literals
from kurolproxy.config.schema import ARRAYS, SECTIONS, label, section_keys
from kurolproxy.config.secrets import BROKEN, Sources, resolve
from kurolproxy.config.sections import Sections, check_signup, read_sections
from kurolproxy.config.upstreams import Upstreams
from kurolproxy.ir import ProtocolName
from kurolproxy.policy.catalog import Catalog

# Thousands of models fit into a tenth of it.
_MAX_FILE_BYTES = 8_388_608
_TOML_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)\Z")
_TOML_END = " (at end of document)"


def load(
    path: Path,
    environ: Mapping[str, str],
    credentials_dir: Path | None = None,
    *,
    available: tuple[ProtocolName, ...] = AVAILABLE,
    secrets: bool = True,
) -> Config:
    """Read a configuration file.

    Args:
        environ: where ``${NAME}`` is looked up.
        credentials_dir: where ``${credential:NAME}`` is; None: ``$CREDENTIALS_DIRECTORY``.
        available: the protocols that this version speaks.
        secrets: whether a reference in the place of a secret must stand for something; False
            is for those who call no upstream, and may not see what the service sees: a secret
            that they cannot read is left out.

    Raises:
        ConfigError: with every problem of the file; also when it cannot be read.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _unusable(name, f"cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise _unusable(name, f"is larger than {_MAX_FILE_BYTES} bytes")
    text = _decode(data, name)
    sources = _sources(name, environ, credentials_dir)
    return _parse(text, name, sources, secrets=secrets, available=available, mode=mode)


def parse(
    text: str,
    name: str,
    environ: Mapping[str, str],
    credentials_dir: Path | None = None,
    *,
    available: tuple[ProtocolName, ...] = AVAILABLE,
) -> Config:
    """Read a configuration from a text, as ``load`` reads it from a file.

    Args:
        name: what problems call the text; relative paths start at its folder.

    Raises:
        ConfigError: with every problem of the text.
    """
    sources = _sources(name, environ, credentials_dir)
    return _parse(text, name, sources, secrets=True, available=available, mode=0)


def _sources(name: str, environ: Mapping[str, str], credentials_dir: Path | None) -> Sources:
    if credentials_dir is None and environ.get("CREDENTIALS_DIRECTORY"):
        credentials_dir = Path(environ["CREDENTIALS_DIRECTORY"])
    return Sources(environ, credentials_dir, Path(name).parent)


def _parse(
    text: str,
    name: str,
    sources: Sources,
    *,
    secrets: bool,
    available: tuple[ProtocolName, ...],
    mode: int,
) -> Config:
    document, positions = _document(text.removeprefix("\ufeff"), name)
    report = Report(name, positions, document)
    resolved = resolve(document, report, sources, None if secrets else is_secret_place)
    tables = _known_tables(report, resolved.document)
    sections = read_sections(report, tables, sources.directory)
    catalog = _catalog(report, tables, sections, available)
    warn_of_literals(report, resolved, mode)
    errors = report.sorted("error")
    if errors:
        raise ConfigError(errors)
    return Config(
        name=name,
        **{each: getattr(sections, each) for each in SECTIONS},
        catalog=catalog,
        secrets=secrets_of(catalog.upstreams.values(), sections.metrics.token, resolved),
        warnings=tuple(report.sorted("warning")),
        positions=positions,
    )


def _catalog(
    report: Report,
    tables: dict[str, Any],
    sections: Sections,
    available: tuple[ProtocolName, ...],
) -> Catalog:
    """Return the catalog; it is whole only when no error was noted."""
    arrays = {array: _entries(report, array, tables.get(array, [])) for array in ARRAYS}
    upstreams = Upstreams(report, arrays["upstreams"], available)
    models = Models(report, arrays["models"], upstreams, sections.timeouts, available)
    plans = Plans(report, arrays["plans"], [model.id for model in models.models])
    check_signup(report, sections.dashboard, plans.names)
    known = [each.upstream for each in upstreams.known.values()]
    return Catalog(known, models.models, plans.plans)


def _known_tables(report: Report, document: dict[str, Any]) -> dict[str, Any]:
    """Return the tables that have a meaning; the others are noted."""
    tables = {}
    for name, value in document.items():
        if name in SECTIONS or name in ARRAYS:
            tables[name] = value
        elif isinstance(value, dict) or _is_array_of_tables(value):
            shown = f"[[{_bare(name)}]]" if isinstance(value, list) else f"[{_bare(name)}]"
            hint = did_you_mean(name, [*SECTIONS, *ARRAYS], label)
            report.error((name,), f"unknown table {shown}{hint}")
        else:
            report.error((name,), f"unknown key {quote(name)} before the first table{_home(name)}")
    return tables


def _bare(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quote(name)


def _home(name: str) -> str:
    """Return where a key of the top belongs, when some section has one of its name."""
    homes = [label(section) for section in SECTIONS if name in section_keys(section)]
    return f"; it belongs in {' or '.join(homes)}" if homes else ""


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _entries(report: Report, name: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if value is not BROKEN:
        report.error((name,), f"{name} is an array of tables: write {label(name)}")
    return []


def _document(text: str, name: str) -> tuple[dict[str, Any], Positions]:
    try:
        return tomllib.loads(text), locate(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(text, name, str(error))]) from error
    except RecursionError as error:
        raise _unusable(name, "is nested too deeply") from error
    except ValueError as error:
        # tomllib lets one through: an integer of more digits than Python converts.
        raise _unusable(name, "holds a number that is too long") from error


def _syntax_problem(text: str, name: str, message: str) -> Problem:
    place = _TOML_PLACE.search(message)
    if place is not None:
        line, column = int(place[1]), int(place[2])
        message = _TOML_PLACE.sub("", message)
    else:
        lines = text.split("\n")
        line, column = len(lines), len(lines[-1]) + 1
        message = message.replace(_TOML_END, " at the end of the file")
    rest = (text.split("\n")[line - 1 : line] or [""])[0][column - 1 :]
    hint = ': references stand in quotes, as in "${NAME}"' if rest.startswith("${") else ""
    return Problem(name, line, column, f"not valid TOML: {message}{hint}")


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        problem = Problem(name, line, column, "not valid TOML: not UTF-8 text")
    # Outside of the handler: the exception holds the file's bytes.
    raise ConfigError([problem])


def _unusable(name: str, message: str) -> ConfigError:
    return ConfigError([Problem(name, 0, 0, f"the file {message}")])
