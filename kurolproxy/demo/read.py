"""What the wire forms of the demo vendor share: reading JSON, refusing, writing JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson


class Refused(Exception):
    """The vendor refuses a request.

    Args:
        status: the HTTP status; each wire form has its own words for it.
        param: the field at fault, in the caller's spelling.
        code: OpenAI's machine-readable reason.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class MalformedJson(Refused):
    """The body is no JSON object; each vendor says that in words of its own."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, reason)


def loads(body: bytes) -> dict[str, Any]:
    """Read a request body.

    Raises:
        MalformedJson: it is no JSON object.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedJson(str(error)) from error
    if not isinstance(value, dict):
        raise MalformedJson("the body has to be a JSON object")
    return value


def arguments(said: str) -> dict[str, Any]:
    """Read a call's arguments; those that were cut off are an empty object."""
    try:
        return loads(said.encode())
    except MalformedJson:
        return {}


def dumps(value: object) -> str:
    """Write JSON without spaces, in the order given.

    Raises:
        Refused: it is nested more deeply than JSON is written (255 levels).
    """
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise Refused(400, "The request is nested too deeply.") from error


def obj(value: Any, where: str) -> dict[str, Any]:
    """Return ``value``, which has to be an object."""
    if isinstance(value, dict):
        return value
    raise Refused(400, f"Invalid type for '{where}': expected an object.", param=where)


def items(value: Any, where: str) -> list[Any]:
    """Return ``value``, which has to be an array."""
    if isinstance(value, list):
        return value
    raise Refused(400, f"Invalid type for '{where}': expected an array.", param=where)


def text(value: Any, where: str) -> str:
    """Return ``value``, which has to be a string."""
    if isinstance(value, str):
        return value
    raise Refused(400, f"Invalid type for '{where}': expected a string.", param=where)


def maybe_text(value: Any, where: str) -> str | None:
    """Return ``value``, which has to be a string or None."""
    return None if value is None else text(value, where)


def flag(value: Any, where: str) -> bool:
    """Return ``value``, which has to be a boolean; None is false."""
    if value is None or isinstance(value, bool):
        return bool(value)
    raise Refused(400, f"Invalid type for '{where}': expected a boolean.", param=where)


def whole_number(value: Any, where: str, *, least: int) -> int | None:
    """Return ``value``, which has to be an integer of at least ``least``, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(400, f"Invalid type for '{where}': expected an integer.", param=where)
    if value < least:
        message = f"Invalid '{where}': integer below minimum value. Expected a value >= {least}."
        raise Refused(400, message, param=where, code="integer_below_min_value")
    return value


def pick(value: Any, table: Mapping[str, Any], where: str) -> Any:
    """Return what ``table`` holds for ``value``, which has to be one of its keys."""
    if isinstance(value, str) and value in table:
        return table[value]
    known = ", ".join(f"'{name}'" for name in table)
    message = f"Invalid value for '{where}': {dumps(value)}. Supported values are: {known}."
    raise Refused(400, message, param=where, code="invalid_value")


def base64_data(value: Any, where: str) -> str:
    """Return ``value``, which has to be base64 of at least one byte."""
    data = text(value, where)
    try:
        decoded = base64.b64decode(data, validate=True)
    except ValueError as error:  # binascii.Error is one, a character beyond ASCII another
        raise Refused(400, f"Invalid base64 data in '{where}'.", param=where) from error
    if not decoded:
        raise Refused(400, f"Empty data in '{where}'.", param=where)
    return data


def data_url(value: Any, where: str) -> str:
    """Check a ``data:`` URL of base64 and return its media type."""
    url = text(value, where)
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise Refused(400, f"Invalid '{where}': expected a base64-encoded data URL.", param=where)
    base64_data(data, where)
    return head.removeprefix("data:").removesuffix(";base64").partition(";")[0].lower()
