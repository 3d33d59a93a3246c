"""What a browser calls itself, as people call it."""

from __future__ import annotations

from typing import Final

# The first that stands in the text: all of them claim to be others as well.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("Chrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Chromium", "Chromium"),
    ("Safari", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
_SHOWN: Final = 60


def device_of(agent: str) -> tuple[str, str]:
    """Return browser and system of a ``User-Agent``; "" for what it does not tell.

    A text that names neither stands for the browser, cut short.
    """
    browser, system = _first(_BROWSERS, agent), _first(_SYSTEMS, agent)
    return (browser, system) if browser or system else (agent[:_SHOWN], "")


def _first(table: tuple[tuple[str, str], ...], agent: str) -> str:
    return next((name for mark, name in table if mark in agent), "")
