"""Which values of a configuration are secrets, and the configuration without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from kurolproxy.config.positions import Path
from kurolproxy.config.problems import Report
from kurolproxy.config.secrets import Resolved
from kurolproxy.policy.catalog import Upstream

HIDDEN: Final = "***"
# A header of one of these is a credential, whatever it holds.
_SECRET_WORDS = ("auth", "key", "token", "secret", "cookie", "credential", "password")
_SECRET_KEYS = ("api_keys", "headers", "proxy")
_OPEN_TO_OTHERS = 0o066
_CHANGED_BY_ALL = 0o002


def is_secret_header(name: str) -> bool:
    """Return whether a header of this name holds a credential."""
    return any(word in name.lower() for word in _SECRET_WORDS)


def secrets_of(upstreams: Iterable[Upstream], token: str, resolved: Resolved) -> tuple[str, ...]:
    """Return every secret of a configuration, each once, none empty.

    Args:
        token: that of the metrics.
        resolved: what references stood for; it counts where a credential may stand.
    """
    found: dict[str, None] = dict.fromkeys([token, *resolved.credentials])
    for upstream in upstreams:
        found.update(dict.fromkeys(_upstream_secrets(upstream)))
    for path, fragments in resolved.fragments.items():
        if is_secret_place(path):
            found.update(dict.fromkeys(fragments))
    return tuple(secret for secret in found if secret)


def warn_of_literals(report: Report, resolved: Resolved, mode: int) -> None:
    """Warn of each secret that is written out in a file which others can read or change.

    Args:
        mode: the file's permission bits.
    """
    if mode & _CHANGED_BY_ALL:
        report.warn(
            (),
            f"every user of this machine can change this file (mode {mode:04o}), and so where"
            " keys and prompts are sent: chmod o-w",
        )
    if not mode & _OPEN_TO_OTHERS:
        return
    for path, text in _texts(resolved.document, ()):
        if path not in resolved.fragments and _is_literal_secret(path, text):
            report.warn(
                path,
                f"a secret is written out in a file that others can read (mode {mode:04o}):"
                " use ${NAME}, ${file:PATH} or ${credential:NAME}, or chmod 600",
            )


def hide_proxy(url: str) -> str:
    """Return the URL of a proxy without its user and password."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{HIDDEN}@{host}")) if userinfo or at else url


def hide_headers(upstream: Upstream, secrets: Iterable[str]) -> dict[str, str]:
    """Return the extra headers of an upstream, secret values hidden."""
    known = set(secrets)
    return {
        name: HIDDEN
        if is_secret_header(name) or any(secret in value for secret in known)
        else value
        for name, value in upstream.headers.items()
    }


def _upstream_secrets(upstream: Upstream) -> Iterator[str]:
    yield from upstream.api_keys
    for name, value in upstream.headers.items():
        if is_secret_header(name):
            yield value
            # An upstream may quote the credential without its scheme ("Bearer").
            yield value.rpartition(" ")[2]
    if upstream.proxy is not None:
        yield from _passwords(upstream.proxy)


def _passwords(url: str) -> Iterator[str]:
    password = urlsplit(url).password
    if password:
        yield password
        yield unquote(password)


def is_secret_place(path: Path) -> bool:
    """Return whether a credential may stand at this path of the file."""
    if path == ("metrics", "token"):
        return True
    return len(path) >= 3 and path[0] == "upstreams" and path[2] in _SECRET_KEYS


def _is_literal_secret(path: Path, text: str) -> bool:
    if not text or not is_secret_place(path):
        return False
    if "proxy" in path:
        return "@" in text
    return "headers" not in path or is_secret_header(str(path[-1]))


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _texts(each, (*path, index))
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _texts(each, (*path, name))
