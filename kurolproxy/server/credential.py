"""The key out of a request: four forms, one order."""

from __future__ import annotations

from aiohttp.web import BaseRequest

from kurolproxy.errors import BadRequest

_PREFIX = "sk-kurol-"
_ADMIN = "sk-kurol-admin-"
_HEADERS = ("authorization", "x-api-key", "x-goog-api-key")


def credential(request: BaseRequest, *, query_key: bool) -> str | None:
    """Return the key that a request carries.

    The order is ``Authorization: Bearer``, ``x-api-key``, ``x-goog-api-key``, ``?key=``;
    of several that differ, the first that looks like a key of ours wins.

    Args:
        query_key: whether ``?key=`` counts on this route (Gemini's only).

    Raises:
        BadRequest: the same header stands there twice.
    """
    found: list[str] = []
    for name in _HEADERS:
        values = request.headers.getall(name, ())
        if len(values) > 1:
            raise BadRequest(f"The header {name} stands in the request more than once.")
        if values and (value := _value(name, values[0])):
            found.append(value)
    if query_key and (value := request.query.get("key", "")):
        found.append(value)
    for value in found:
        if value.startswith(_PREFIX) and not value.startswith(_ADMIN):
            return value
    return found[0] if found else None


def _value(name: str, raw: str) -> str:
    if name != "authorization":
        return raw.strip()
    scheme, _, rest = raw.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else ""
