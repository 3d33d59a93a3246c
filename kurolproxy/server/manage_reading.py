"""What comes in at the management API: bodies and parameters, checked field by field."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeVar, get_origin

import msgspec
from aiohttp.web import BaseRequest

from kurolproxy.errors import BadRequest, Unprocessable, UnsupportedMedia
from kurolproxy.protocols import wire
from kurolproxy.server.api_models import PATTERN_WORDS
from kurolproxy.server.body import BodyLimits, check_head, read_body
from kurolproxy.server.deadlines import Watch
from kurolproxy.server.state import State

T = TypeVar("T", bound=msgspec.Struct)
Problems = list[tuple[str, str]]

MAX_BODY_BYTES: Final = 65_536
_BODY_S: Final = 10.0
_MAX_DEPTH: Final = 10
_SHOWN_CHARS: Final = 60
_CONTROL: Final = re.compile(r"[\x00-\x1f]")
_TRUTHS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}


async def body_of(state: State, request: BaseRequest, shape: type[T]) -> T:
    """Read the body of a request.

    Raises:
        UnsupportedMedia, TooLarge, RequestTimeout, Overloaded: it is not even read.
        BadRequest: it is no JSON object.
        Unprocessable: its members make no sense, each of those is named.
    """
    limits = BodyLimits(max_bytes=MAX_BODY_BYTES, timeout_s=_BODY_S)
    check_head(request, limits)
    if request.content_type != "application/json":
        raise UnsupportedMedia("Send the request body as JSON: content-type: application/json.")
    watch = Watch(asyncio.current_task(), _BODY_S)
    state.deadlines.add(watch)
    try:
        data = await read_body(request, limits, state.bodies, watch)
        state.bodies.give_back(len(data))
    finally:
        state.deadlines.remove(watch)
    given, twice = _members(data)
    return _checked(given, shape, twice, _body_value)


def query_of(request: BaseRequest, shape: type[T]) -> T:
    """Read the parameters behind the question mark.

    Raises:
        Unprocessable: they make no sense, each of those is named.
    """
    query = request.query
    twice = [name for name in dict.fromkeys(query) if len(query.getall(name)) > 1]
    return _checked(dict(query), shape, twice, _query_value)


def _members(data: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return the members of an object, and the names that stand there twice."""
    document = wire.load_object(data, _MAX_DEPTH)
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in found]
        twice.extend(name for name in dict.fromkeys(names) if names.count(name) > 1)

    # The quick parser takes the last of them without a word.
    try:
        json.loads(data, object_pairs_hook=pairs)
    except ValueError as error:
        # It reads no integer of thousands of digits.
        raise BadRequest("The request body holds a number that is too large.") from error
    return document, twice


def _checked(
    given: Mapping[str, Any],
    shape: type[T],
    twice: Iterable[str],
    value_of: Callable[[Any, Any], Any],
) -> T:
    """Convert each member by itself, so that one that is wrong never hides the next."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    problems: Problems = [(_shown(name), "stands there more than once") for name in twice]
    found: dict[str, Any] = {}
    for name, value in given.items():
        field = fields.get(name)
        if field is None:
            problems.append((_shown(name), _unknown(name, fields)))
            continue
        try:
            found[field.name] = value_of(value, field.type)
        except ValueError as error:
            problems.append((name, _words(error, field.type)))
    missing = [name for name, field in fields.items() if field.required and name not in given]
    problems += [(name, "is missing") for name in missing]
    if problems:
        raise Unprocessable(problems)
    return shape(**found)


def _body_value(value: Any, kind: Any) -> Any:
    for text in value if isinstance(value, list) else [value]:
        # A regular expression overlooks one line end, the last.
        if isinstance(text, str) and _CONTROL.search(text):
            raise ValueError("must be one line of visible characters")
    if isinstance(value, float) and value.is_integer():
        # To JSON Schema 1.0 is an integer, and some clients write theirs so.
        value = int(value)
    return msgspec.convert(value, kind)


def _query_value(text: str, kind: Any) -> Any:
    if _CONTROL.search(text):
        raise ValueError("must be one line of visible characters")
    bare = _bare(kind)
    if bare is bool:
        if text not in _TRUTHS:
            raise ValueError("must be true or false")
        return _TRUTHS[text]
    if get_origin(bare) is tuple:
        return msgspec.convert(text.split(","), kind)
    # Only whole numbers without sign, space or underscore are numbers here.
    if bare is int and not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError("must be a whole number")
    return msgspec.convert(text, kind, strict=False)


def _bare(kind: Any) -> Any:
    """Return a type without what annotates it, and without ``UNSET``."""
    while hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    others = [each for each in getattr(kind, "__args__", ()) if each is not msgspec.UnsetType]
    if msgspec.UnsetType in getattr(kind, "__args__", ()) and len(others) == 1:
        return _bare(others[0])
    return kind


def _words(error: ValueError, kind: Any) -> str:
    """Return what is wrong, in words that hold no value."""
    text = str(error)
    if text.startswith("Invalid enum value"):
        return f"must be one of {', '.join(_choices(kind))}"
    for pattern, words in PATTERN_WORDS.items():
        _, found, where = text.partition(f" matching regex {pattern!r}")
        if found:
            return words + where
    return text[:1].lower() + text[1:]


def _choices(kind: Any) -> Iterator[str]:
    """Yield the words that a type names, wherever in it."""
    for each in getattr(kind, "__args__", ()):
        if isinstance(each, str):
            yield each
        else:
            yield from _choices(each)


def _unknown(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return "there is no such field" + (f": did you mean {near[0]!r}?" if near else "")


def _shown(name: str) -> str:
    return name[:_SHOWN_CHARS]
