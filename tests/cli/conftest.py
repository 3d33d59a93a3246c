"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.sites import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an installation with the usual configuration and no state yet."""
    site = Site(tmp_path)
    site.write()
    return site
