"""The tables that stand once: ``[server]`` to ``[dashboard]``, and what holds between them."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from kurolproxy.config import addresses
from kurolproxy.config.model import Dashboard, Ledger, Limits, Log, Metrics, Server
from kurolproxy.config.names import Names
from kurolproxy.config.positions import Path
from kurolproxy.config.problems import Report
from kurolproxy.config.reading import Table, read_table, valid
from kurolproxy.config.schema import SECTIONS, label, section_keys
from kurolproxy.policy.catalog import Timeouts

_CONTROL_SOCKET = "control.sock"
# A socket's address holds 108 bytes on Linux, 104 on macOS, its end included.
_MAX_SOCKET_BYTES = 100


@dataclass(frozen=True, slots=True)
class Sections:
    """Every section, with what its keys say or their defaults."""

    server: Server
    limits: Limits
    timeouts: Timeouts
    ledger: Ledger
    metrics: Metrics
    log: Log
    dashboard: Dashboard


def read_sections(report: Report, document: dict[str, Any], directory: FilePath) -> Sections:
    """Read the sections of a file.

    Args:
        document: the whole file, references resolved.
        directory: what a relative ``state_dir`` starts from.
    """
    tables = {
        name: read_table(report, (name,), label(name), document.get(name, {}), section_keys(name))
        for name in SECTIONS
    }
    sections = Sections(**{name: shape(**tables[name].values) for name, shape in SECTIONS.items()})
    server = _server(tables["server"], sections.server, directory)
    _check_limits(tables["limits"], sections.limits)
    _check_clear_text(tables, server, sections.dashboard)
    return dataclasses.replace(sections, server=server)


def check_signup(report: Report, dashboard: Dashboard, plans: Names) -> None:
    """Note a plan of new accounts that is missing or unknown."""
    path = ("dashboard", "signup_plan")
    if dashboard.signup_plan:
        if dashboard.signup_plan not in plans:
            hint = plans.suggest(dashboard.signup_plan)
            report.error(path, f"unknown plan {report.quote(path)}{hint}")
    elif dashboard.signup == "open":
        report.error(
            ("dashboard", "signup"),
            'signup = "open" needs signup_plan: the plan of the accounts that people make',
        )


def _server(table: Table, server: Server, directory: FilePath) -> Server:
    _check_listen(table, server)
    public_url = server.public_url or f"http://{[*server.listen, ''][0]}"
    return dataclasses.replace(
        server,
        public_url=public_url.rstrip("/"),
        public_urls=tuple(url.rstrip("/") for _, url in valid(server.public_urls)),
        state_dir=_state_dir(table, server.state_dir, directory),
    )


def _check_listen(table: Table, server: Server) -> None:
    spot = table.spot("listen")
    fixed = [each for _, each in valid(server.listen) if not each.endswith(":0")]
    if not all(server.listen) or not server.listen:
        spot.error("must name an address")
    elif len(set(fixed)) < len(fixed):
        spot.error("names an address twice")


def _state_dir(table: Table, written: str, directory: FilePath) -> str:
    spot = table.spot("state_dir")
    if not written:
        spot.error("must not be empty")
    elif "\0" in written:
        spot.error("must not hold a NUL character")
    path = os.path.abspath(directory / written)
    size = len(os.fsencode(os.path.join(path, _CONTROL_SOCKET)))
    if size > _MAX_SOCKET_BYTES:
        spot.error(
            f"too long: its {_CONTROL_SOCKET} would have a path of {size} bytes,"
            f" and a socket's path has at most {_MAX_SOCKET_BYTES}"
        )
    return path


def _check_limits(table: Table, limits: Limits) -> None:
    if limits.max_body_bytes_in_flight < limits.max_body_bytes:
        name = "max_body_bytes_in_flight"
        name = name if name in table.given else "max_body_bytes"
        table.report.warn(
            (*table.path, name),
            "max_body_bytes_in_flight is below max_body_bytes: the largest bodies never fit",
        )


def _check_clear_text(tables: dict[str, Table], server: Server, dashboard: Dashboard) -> None:
    """Warn of passwords and keys that travel unencrypted."""
    report = tables["server"].report
    if dashboard.insecure_http:
        report.warn(
            ("dashboard", "insecure_http"),
            "insecure_http = true: passwords, sessions and keys travel in clear text",
        )
        return
    main = "public_url" if "public_url" in tables["server"].given else "listen"
    urls: dict[Path, str] = {("server", main): server.public_url}
    urls |= {("server", "public_urls", i): url for i, url in enumerate(server.public_urls)}
    for path, url in urls.items():
        if addresses.public_url_fault(url) is None and _is_exposed(url):
            report.warn(
                path,
                "an http URL on a name that is not loopback: keys travel in clear text, and the"
                " dashboard is not served there; put a TLS proxy in front and use https",
            )


def _is_exposed(url: str) -> bool:
    return url.startswith("http://") and not addresses.is_loopback(url)
