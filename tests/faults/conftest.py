"""Fixtures of the fault tests, and the tables that they print."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.faults.serving import Installation
from tests.faults.vendor import QuickVendor, paced

Tell = Callable[[str], None]
PAUSE_S = 0.05


@pytest.fixture
async def vendor() -> AsyncIterator[QuickVendor]:
    """Yield a quick vendor; its model ``paced`` takes some tenths of a second."""
    async with QuickVendor({"paced": paced(PAUSE_S)}) as vendor:
        yield vendor


@pytest.fixture
async def site(tmp_path: Path, vendor: QuickVendor) -> Installation:
    """Return an installation in front of the vendor, with one account."""
    site = Installation(tmp_path)
    site.configure(vendor.base_url)
    await asyncio.to_thread(site.people)
    return site


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Return a function that has a line printed at the end of the run."""
    return lambda line: record_property("figure", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that the tests told, each under the name of its test."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            lines = [str(value) for name, value in report.user_properties if name == "figure"]
            if lines:
                terminalreporter.write_line(report.nodeid.rpartition("::")[2])
                for line in lines:
                    terminalreporter.write_line(f"  {line}")
