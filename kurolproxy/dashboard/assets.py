"""Static files: read once, named after what they hold, compressed, kept by browsers for ever."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import web
from aiohttp.web import BaseRequest

from kurolproxy.dashboard.answers import takes_gzip

PREFIX: Final = "/dashboard/static/"
_KINDS: Final[Mapping[str, str]] = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "ico": "image/x-icon",
    "png": "image/png",
    "txt": "text/plain; charset=utf-8",
}
_COMPRESSED: Final = frozenset({"css", "js", "svg", "txt"})
_HASH_CHARS: Final = 12
_FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    kind: str
    plain: bytes
    packed: bytes | None


class Assets:
    """The files below ``static/``."""

    def __init__(self) -> None:
        self._assets: dict[str, _Asset] = {}
        self._urls: dict[str, str] = {}
        self._add(files("kurolproxy.dashboard") / "static", "")

    def _add(self, folder: Traversable, prefix: str) -> None:
        for each in sorted(folder.iterdir(), key=lambda found: found.name):
            if each.is_dir():
                self._add(each, f"{prefix}{each.name}/")
                continue
            kind = each.name.rpartition(".")[2]
            if kind not in _KINDS:
                continue
            data = each.read_bytes()
            packed = gzip.compress(data, 9, mtime=0) if kind in _COMPRESSED else None
            path = f"{sha256(data).hexdigest()[:_HASH_CHARS]}/{prefix}{each.name}"
            self._assets[path] = _Asset(_KINDS[kind], data, packed)
            self._urls[f"{prefix}{each.name}"] = PREFIX + path

    def url(self, name: str) -> str:
        """Return the address of a file, by its path below ``static/``.

        Raises:
            KeyError: there is no such file.
        """
        return self._urls[name]

    def answer(self, request: BaseRequest, path: str) -> web.Response | None:
        """Return a file by its address without the prefix; None when there is none."""
        asset = self._assets.get(path)
        if asset is None:
            return None
        headers = {"content-type": asset.kind, "cache-control": _FOREVER, "vary": "accept-encoding"}
        body = asset.plain
        if asset.packed is not None and takes_gzip(request):
            body = asset.packed
            headers["content-encoding"] = "gzip"
        return web.Response(body=body, headers=headers)
