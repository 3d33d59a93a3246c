"""Templates to text: jinja2 with our filters, and one function that every text goes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from gettext import NullTranslations
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kurolproxy.dashboard.assets import Assets

NAV: Final[tuple[tuple[str, str, str], ...]] = (
    ("/dashboard/", "Overview", "overview"),
    ("/dashboard/keys", "Keys", "keys"),
    ("/dashboard/models", "Models", "models"),
    ("/dashboard/usage", "Usage", "usage"),
    ("/dashboard/playground", "Playground", "playground"),
    ("/dashboard/connect", "Connect", "connect"),
    ("/dashboard/account", "Account", "account"),
)
"""Path, text and icon of each page of an account."""
ADMIN_NAV: Final[tuple[tuple[str, str, str], ...]] = (
    ("/dashboard/admin/accounts", "Accounts", "accounts"),
    ("/dashboard/admin/plans", "Plans", "plans"),
    ("/dashboard/admin/upstreams", "Upstreams", "upstreams"),
    ("/dashboard/admin/requests", "Requests", "requests"),
    ("/dashboard/admin/audit", "Audit", "audit"),
    ("/dashboard/admin/config", "Config", "config"),
    ("/dashboard/admin/system", "System", "system"),
)
"""The same of the pages for admins."""

_LEAST_DOLLARS: Final = 0.0001
_EXACT_BELOW_DOLLARS: Final = 10


class Renderer:
    """Renders the templates of this package.

    Args:
        assets: for the addresses of static files.
        translations: the texts in another language; None: as they are written.
    """

    def __init__(self, assets: Assets, translations: NullTranslations | None = None) -> None:
        words = translations or NullTranslations()
        self.gettext: Callable[[str], str] = words.gettext
        self._env = Environment(
            loader=PackageLoader("kurolproxy.dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
            auto_reload=False,
        )
        self._env.install_gettext_translations(words, newstyle=True)  # type: ignore[attr-defined]  # added by the extension
        self._env.filters |= {"count": count, "stamp": stamp, "ago_s": duration, "iso": iso}
        self._env.filters["dollars"] = dollars
        self._env.globals |= {"asset": assets.url, "nav": NAV, "admin_nav": ADMIN_NAV}
        # As globals: blocks that are rendered alone see no import of their template.
        self._env.globals["ui"] = self._env.get_template("parts.html").module

    def render(self, template: str, values: Mapping[str, Any], block: str | None = None) -> str:
        """Return a page, or one block of it.

        Args:
            values: ``csrf`` among them.
        """
        field = Markup('<input type="hidden" name="csrf" value="{}">').format(values["csrf"])
        found = self._env.get_template(template)
        context = {**values, "csrf_field": lambda: field}
        if block is None:
            return found.render(context)
        return "".join(found.blocks[block](found.new_context(context)))


def count(value: float | None) -> str:
    """Return a number with its thousands apart (thin spaces); "–" for None."""
    return "–" if value is None else f"{value:,}".replace(",", "\u2009")


def dollars(value: float | None) -> str:
    """Return US dollars to the cent, small amounts more exactly; "–" for None."""
    if value is None:
        return "–"
    if 0 < value < _LEAST_DOLLARS:
        return f"<{_LEAST_DOLLARS}"
    if value >= _EXACT_BELOW_DOLLARS:
        return f"{value:,.2f}".replace(",", "\u2009")
    whole, _, rest = f"{value:.4f}".partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


def stamp(unix: float | None) -> str:
    """Return a moment in UTC to the second; "–" for None."""
    if unix is None:
        return "–"
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(unix: float) -> str:
    """Return a moment for machines: the ``datetime`` attribute of ``<time>``."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float | None) -> str:
    """Return a duration in the unit that suits it; "–" for None."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h"
