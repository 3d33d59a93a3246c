"""Foreign texts made fit for a caller: no key, no host, no inner model name."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MAX_CHARS = 2_000
_KEYS = re.compile(
    r"\b(?:sk|pk|rk|xai|gsk|pplx|csk)[-_][A-Za-z0-9_*.-]{6,}|AIza[A-Za-z0-9_-]{10,}"
    r"|(?i:bearer)\s+[A-Za-z0-9._~+/=-]{6,}"
)
_URLS = re.compile(r"\b(?:https?|wss?)://[^\s\"'<>)\]]+")


class Scrubber:
    """Cleans the texts of upstreams.

    Args:
        secrets: every configured secret.
        hosts: every host name of an upstream.
    """

    def __init__(self, secrets: Iterable[str], hosts: Iterable[str]) -> None:
        # The longest first: one secret may be the beginning of another.
        words = sorted({each for each in secrets if len(each) > 3}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, words))) if words else None
        names = sorted({each for each in hosts if each}, key=len, reverse=True)
        self._hosts = re.compile("|".join(map(re.escape, names))) if names else None

    def clean(self, text: str, *, inner: str = "", public: str = "") -> str:
        """Return ``text`` as a caller may read it.

        Args:
            inner: the upstream's name of the model, which becomes ``public``.
        """
        if self._secrets is not None:
            text = self._secrets.sub("***", text)
        text = _KEYS.sub("***", text)
        text = _URLS.sub("[url]", text)
        if self._hosts is not None:
            text = self._hosts.sub("[upstream]", text)
        if inner and public and inner != public:
            text = text.replace(inner, public)
        return text[:_MAX_CHARS]
