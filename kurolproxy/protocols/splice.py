"""Change a few members of a request's JSON object in its bytes, without parsing it.

Numbers over 64 bits, the order of keys, white space and so the vendors' prompt caches
survive only this way. One scan finds the members of the outermost object; edits are laid
over the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import nesting, wire

Edit = tuple[int, int, bytes]


class Member(NamedTuple):
    """Where the value of a member stands in its body."""

    start: int
    end: int


# What is checked and what is forwarded must mean the same to us and to every parser.
_ONCE = frozenset({"model", "stream"})
# No protocol has a hundredth of it; every further member would cost a microsecond.
_MAX_MEMBERS = 10_000
_MAX_ELEMENTS = 100_000
_COUNTED_BEFORE = 1 << 20  # levels: those of a body that was scanned were counted then
_CLOSING = ord("}")

_WHITE = rb"[ \t\r\n]*+"
_OPEN = re.compile(_WHITE + rb"\{" + _WHITE + rb"(\})?")
_AFTER = re.compile(_WHITE + rb"([,}])")
_END = re.compile(_WHITE + rb"\Z")
_ARRAY = re.compile(rb"\[" + _WHITE + rb"(\])?")
_NEXT = re.compile(_WHITE + rb"([,\]])" + _WHITE)
_NAME = rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_KEY = re.compile(_WHITE + _NAME + _WHITE + rb":" + _WHITE, re.DOTALL)
_PLAIN = rb'[^ \t\r\n",:\[\]{}]++'
_SCALAR = re.compile(_PLAIN)


@cache
def _member(levels: int) -> re.Pattern[bytes]:
    """Return the pattern of a key, a colon, and of a value with what follows it.

    The value and the rest are missing when it has more than so many levels.
    """
    value = b"|".join((nesting.STRING, _PLAIN, nesting.nested(levels)))
    return re.compile(
        b"%b%b%b:%b(?:(%b)%b([,}]))?" % (_WHITE, _NAME, _WHITE, _WHITE, value, _WHITE), re.DOTALL
    )


@dataclass(frozen=True, slots=True)
class TopLevel:
    """Where the members of a JSON object stand.

    Attributes:
        body: the object's bytes.
        members: name -> its values, in order; more than one when the member is repeated.
        end: the offset of the closing brace.
    """

    body: bytes
    members: Mapping[str, Sequence[Member]]
    end: int

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, name: object) -> bool:
        return name in self.members

    def get(self, name: str) -> Member | None:
        """Return where a member stands; of a repeated one the last, as parsers do."""
        found = self.members.get(name)
        return found[-1] if found else None

    def raw(self, name: str) -> bytes | None:
        """Return the bytes of a member's value."""
        member = self.get(name)
        return None if member is None else self.body[member.start : member.end]

    def value(self, name: str) -> Any:
        """Return a member's value; None when it is missing or null.

        Raises:
            BadRequest: it is not JSON.
        """
        raw = self.raw(name)
        if raw is None:
            return None
        try:
            return wire.loads(raw)
        except wire.WireError as error:
            raise BadRequest(f"{name} is {error}.", param=name) from None


def scan(body: bytes, max_depth: int = wire.MAX_DEPTH) -> TopLevel:
    """Find the members of a request's JSON object.

    What stands between them is looked at only as far as it must be: whether the whole
    is JSON is the parser's to say.

    Raises:
        BadRequest: it is no object, it nests over ``max_depth`` levels, ``model`` or
            ``stream`` is repeated, or the scan met something that is not JSON.
    """
    top = _at_once(body, max_depth) if len(body) <= nesting.STEP else None
    return nesting.finished(_in_steps(body, max_depth)) if top is None else _checked(top)


def scan_in_steps(body: bytes, max_depth: int = wire.MAX_DEPTH) -> Generator[None, None, TopLevel]:
    """Do the same as ``scan``, pausing about every 256 KiB so that others get their turn."""
    top = _at_once(body, max_depth) if len(body) <= nesting.STEP else None
    return (yield from _in_steps(body, max_depth)) if top is None else _checked(top)


def _in_steps(body: bytes, max_depth: int) -> Generator[None, None, TopLevel]:
    opening = _OPEN.match(body)
    if opening is None:
        raise BadRequest("The request body must be a JSON object.")
    try:
        top = (
            TopLevel(body, {}, opening.end() - 1)
            if opening[1]
            else (yield from _members(body, opening.end(), max_depth - 1))
        )
        if not _END.match(body, top.end + 1):
            raise nesting.Broken(top.end + 1)
    except nesting.Broken as error:
        raise BadRequest(f"The request body is {error}.") from None
    except nesting.TooDeep:
        raise BadRequest(f"The request body is nested deeper than {max_depth} levels.") from None
    return _checked(top)


def _checked(top: TopLevel) -> TopLevel:
    for name in _ONCE:
        if len(top.members.get(name, ())) > 1:
            raise BadRequest(f"The field {name} is given twice.", param=name)
    return top


def _at_once(body: bytes, max_depth: int) -> TopLevel | None:
    """Scan a small, ordinary object: arrays are passed in one match, not walked.

    Returns:
        None when anything is out of the ordinary: the walk finds out what.
    """
    opening = _OPEN.match(body)
    at = opening.end() if opening else len(body)
    match = _member(min(nesting.USUAL, max_depth - 1)).match
    members: dict[str, list[Member]] = {}
    while (member := match(body, at)) and (after := member[3]) and len(members) < _MAX_MEMBERS:
        key = member[1]
        members.setdefault(str(key, "utf-8", "replace"), []).append(Member(*member.span(2)))
        at = member.end()
        if b"\\" in key:
            return None
        if after == b"}":
            return TopLevel(body, members, at - 1) if _END.match(body, at) else None
    return None


def _members(body: bytes, at: int, room: int) -> Generator[None, None, TopLevel]:
    members: dict[str, list[Member]] = {}
    paused = at
    for _ in range(_MAX_MEMBERS):
        key = _KEY.match(body, at)
        if key is None:
            raise nesting.Broken(at)
        start = key.end()
        end = yield from _value(body, start, room)
        after = _AFTER.match(body, end)
        if after is None:
            raise nesting.Broken(end)
        name = _name(key[1], at)
        members.setdefault(name, []).append(Member(start, end))
        at = after.end()
        if body[at - 1] == _CLOSING:
            return TopLevel(body, members, at - 1)
        if at - paused >= nesting.STEP:
            paused = at
            yield
    raise BadRequest(f"The request body has over {_MAX_MEMBERS} fields.")


def _value(body: bytes, at: int, room: int) -> Generator[None, None, int]:
    """Find the end of the value that begins at ``at``."""
    first = body[at : at + 1]
    if first in (b"[", b"{"):
        return (yield from nesting.walk(body, at, room))
    if first == b'"':
        return (yield from nesting.text(body, at))
    scalar = _SCALAR.match(body, at)
    if scalar is None:
        raise nesting.Broken(at)
    return scalar.end()


def elements(top: TopLevel, name: str) -> Generator[None, None, list[Member]]:
    """Find the elements of a member that is an array, pausing as ``scan_in_steps`` does.

    Returns:
        where they stand; none when the member is missing or no array.

    Raises:
        BadRequest: there are over 100,000, or the scan met something that is not JSON.
    """
    array, body, found = top.get(name), top.body, list[Member]()
    opening = _ARRAY.match(body, array.start, array.end) if array is not None else None
    if opening is None or opening[1]:
        return found
    at = paused = opening.end()
    try:
        while len(found) < _MAX_ELEMENTS:
            end = yield from _value(body, at, _COUNTED_BEFORE)
            found.append(Member(at, end))
            after = _NEXT.match(body, end)
            if after is None:
                raise nesting.Broken(end)
            if after[1] == b"]":
                return found
            at = after.end()
            if at - paused >= nesting.STEP:
                paused = at
                yield
    except nesting.Broken as error:
        raise BadRequest(f"The request body is {error}.") from None
    raise BadRequest(f"{name} has over {_MAX_ELEMENTS} items.", param=name)


def _name(key: bytes, at: int) -> str:
    r"""Return a key; ``"\u006dodel"`` is ``model`` to every parser."""
    if b"\\" not in key:
        return str(key, "utf-8", "replace")
    try:
        return str(wire.loads(b'"' + key + b'"'))
    except wire.WireError:
        raise nesting.Broken(at) from None


class Splice:
    """The edits of one request.

    A repeated member is changed at every place, so that no parser finds the old value.
    Names are our own and need no escapes; values are JSON.

    Args:
        top: what ``scan`` found.
    """

    __slots__ = ("_edits", "_inside", "_new", "_top")

    def __init__(self, top: TopLevel) -> None:
        self._top = top
        self._edits: list[Edit] = []
        self._new: dict[str, bytes] = {}
        self._inside: dict[str, dict[str, bytes]] = {}

    def replace(self, name: str, value: bytes) -> None:
        """Give a member, where it is present, another value."""
        for start, end in self._top.members.get(name, ()):
            self._edit(start, end, value)

    def put(self, name: str, value: bytes) -> None:
        """Give a member a value, whether it is present or not."""
        if name in self._top.members:
            self.replace(name, value)
        else:
            self._new[name] = value

    def put_inside(self, name: str, inner: str, value: bytes) -> None:
        """Give a member of a member a value, as ``stream_options.include_usage``.

        A missing or null member becomes an object; what is no object is left to the
        upstream to refuse.
        """
        wanted = self._inside.setdefault(name, {})
        wanted[inner] = value
        if name not in self._top.members:
            self._new[name] = b"{%b}" % _members_of(wanted)

    def _nested_edits(self) -> Iterator[Edit]:
        for name, wanted in self._inside.items():
            for start, end in self._top.members.get(name, ()):
                old = self._top.body[start:end]
                if old.startswith(b"{"):
                    nested = Splice(scan(old))
                    for inner, value in wanted.items():
                        nested.put(inner, value)
                    yield start, end, nested.apply()
                elif old == b"null":
                    yield start, end, b"{%b}" % _members_of(wanted)

    def _edit(self, start: int, end: int, value: bytes) -> None:
        if self._top.body[start:end] != value:
            self._edits.append((start, end, value))

    def apply(self) -> bytes:
        """Return the edited body; the body itself, the same object, without any edit."""
        edits = list(self._edits)
        for start, end, value in self._nested_edits():
            if self._top.body[start:end] != value:
                edits.append((start, end, value))
        if self._new:
            first = b"," if self._top.members else b""
            edits.append((self._top.end, self._top.end, first + _members_of(self._new)))
        return splice(self._top.body, edits)


def _members_of(values: Mapping[str, bytes]) -> bytes:
    return b",".join(b'"%b":%b' % (name.encode(), value) for name, value in values.items())


def splice(body: bytes, edits: Iterable[Edit]) -> bytes:
    """Return ``body`` with spans replaced.

    Args:
        edits: start, end and the bytes to stand there; an empty span inserts. In any
            order, not overlapping; insertions at one place stand in the order given.

    Returns:
        ``body`` itself, the same object, when there are no edits.
    """
    ordered = sorted(edits, key=lambda edit: edit[:2])
    if not ordered:
        return body
    view = memoryview(body)
    pieces: list[bytes | memoryview] = []
    at = 0
    for start, end, new in ordered:
        pieces += (view[at:start], new)
        at = end
    pieces.append(view[at:])
    return b"".join(pieces)
