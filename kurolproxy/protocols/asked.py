"""The few facts of a request that the gateway needs whatever happens to its body."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import nesting, splice, wire
from kurolproxy.protocols.base import PassRules, Path

PARSED_BYTES = 1_048_576
"""A body that passes through is parsed, and so checked, up to this size."""
_MOST_DIGITS = 32


@dataclass(slots=True)
class Asked:
    """One request body, read as far as every request is.

    Attributes:
        model: as the client wrote it.
        max_tokens: the output cap, the largest of several; None when the client named none.
        n: how many answers.
        thinking_budget: tokens the client set aside for thinking.
        top: the top level of the body, parsed or to be parsed member by member.
        max_depth: levels of nesting that the body may have.
        document: the parsed body; None when it is too large to be parsed for nothing.
    """

    body: bytes
    model: str
    stream: bool
    max_tokens: int | None
    n: int
    thinking_budget: int | None
    top: Mapping[str, Any]
    max_depth: int
    document: dict[str, Any] | None
    _members: splice.TopLevel | None = None

    @property
    def members(self) -> splice.TopLevel:
        """Where the members of the top level stand."""
        if self._members is None:
            self._members = splice.scan(self.body, self.max_depth)
        return self._members

    def load(self) -> Generator[None, None, dict[str, Any]]:
        """Return the parsed body, parsing it now, in steps, if that was not done."""
        if self.document is None:
            # A body that was not parsed was scanned: its levels are counted.
            yield
            self.document = wire.load_object(self.body, None)
        return self.document

    def each_item(self, name: str, look: Callable[[int, Any], None]) -> Generator[None, None, None]:
        """Look at the elements of a member, if it is an array, in steps.

        Those of a body that was not parsed are parsed one by one.

        Raises:
            BadRequest: one of them is not JSON, there are too many, or ``look`` says so.
        """
        if self.document is not None:
            value = self.document.get(name)
            for number, item in enumerate(value if isinstance(value, list) else ()):
                look(number, item)
            return
        paused = 0
        for number, (start, end) in enumerate((yield from splice.elements(self.members, name))):
            look(number, _lazy(self.body[start:end], f"{name}[{number}]"))
            if end - paused >= nesting.STEP:
                paused = end
                yield


def read(
    body: bytes,
    rules: PassRules,
    max_depth: int,
    *,
    model: str | None = None,
    stream: bool = False,
) -> Asked:
    """Read a request body.

    Args:
        model: the model's name when it does not stand in the body but in the path.
        stream: whether a stream is asked for, when the path says that too.

    Raises:
        BadRequest: it is no JSON object, ``model`` is missing, ``model`` or ``stream`` is of
            a wrong type or stands there twice, a required output cap is missing, or a field
            that says how much may come stands there twice, or in both of Gemini's spellings.
    """
    return nesting.finished(read_in_steps(body, rules, max_depth, model=model, stream=stream))


def read_in_steps(
    body: bytes,
    rules: PassRules,
    max_depth: int,
    *,
    model: str | None = None,
    stream: bool = False,
) -> Generator[None, None, Asked]:
    """Do the same as ``read``, pausing so that others get their turn."""
    document: dict[str, Any] | None = None
    members: splice.TopLevel | None = None
    top: Mapping[str, Any]
    if len(body) <= PARSED_BYTES:
        top = document = wire.load_object(body, max_depth)
        # A parser keeps the last of two equal members: only the scan can tell.
        if _repeats(body, document, rules):
            members = yield from splice.scan_in_steps(body, max_depth)
        elif len(body) > nesting.STEP:
            yield
    else:
        members = yield from splice.scan_in_steps(body, max_depth)
        top = _Lazy(members)
    if members is not None:
        _refuse_repeated(members, rules)
    name, streamed = (model, stream) if model is not None else (_model(top), _stream(top))
    cap = _cap(top, rules)
    if rules.cap_required and cap is None:
        field = rules.caps[0][-1]
        raise BadRequest(f"{field}: Field required", param=field)
    count = _integer(top, rules.count, rules)
    return Asked(
        body=body,
        model=name,
        stream=streamed,
        max_tokens=cap,
        n=count if count is not None and count > 0 else 1,
        thinking_budget=_integer(top, rules.budget, rules),
        top=top,
        max_depth=max_depth,
        document=document,
        _members=members,
    )


def _cap(top: Mapping[str, Any], rules: PassRules) -> int | None:
    """Return the output cap; of several the largest, for which counts is the vendor's to say.

    One that is negative, zero or no number means "no limit" to some servers: to us there is
    none then.
    """
    stated = [each for path in rules.caps if (each := _value(top, path, rules)) is not None]
    caps = [whole_number(each) for each in stated]
    least = 0 if rules.cap_required else 1
    known = [each for each in caps if each is not None and each >= least]
    return max(known) if known and len(known) == len(caps) else None


def _stream(top: Mapping[str, Any]) -> bool:
    stream = top.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise BadRequest("stream must be a boolean.", param="stream")
    return bool(stream)


class Unread:
    """A value too large to be parsed for nothing, that is no object."""

    __slots__ = ()


class _Lazy(Mapping[str, Any]):
    """The top level of a large body: a member is parsed when somebody looks at it."""

    def __init__(self, members: splice.TopLevel) -> None:
        self._members = members
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            raw = self._members.raw(name)
            if raw is None:
                raise KeyError(name)
            self._known[name] = _lazy(raw, name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _lazy(raw: bytes, name: str) -> Any:
    """Return a value of a body that was scanned."""
    if len(raw) > PARSED_BYTES:
        return _Lazy(splice.scan(raw)) if raw.startswith(b"{") else Unread()
    try:
        return wire.loads(raw, None)
    except wire.WireError as error:
        raise BadRequest(f"{name} is {error}.", param=name) from None


def _once(rules: PassRules) -> Iterator[str]:
    """Yield the members of a body that say how much may come."""
    for path in (*rules.caps, rules.count, rules.budget):
        if path is not None:
            yield path[0]


def _repeats(body: bytes, document: Mapping[str, Any], rules: PassRules) -> bool:
    """Return whether a member that may stand in the body once only might be there twice.

    Args:
        document: the parsed body: what is not in it at all is not looked for.
    """
    names = [each for each in ("model", "stream", *_once(rules)) if each in document]
    return b"\\u00" in body or any(body.count(b'"%b"' % name.encode()) > 1 for name in names)


def _refuse_repeated(members: splice.TopLevel, rules: PassRules) -> None:
    for name in _once(rules):
        if len(members.members.get(name, ())) > 1:
            raise BadRequest(f"The field {name} is given twice.", param=name)


def _model(top: Mapping[str, Any]) -> str:
    name = top.get("model")
    if name is None or name == "":
        raise BadRequest("model: Field required", param="model")
    if not isinstance(name, str):
        raise BadRequest("model must be a string.", param="model")
    return name


def _integer(top: Mapping[str, Any], path: Path | None, rules: PassRules) -> int | None:
    return None if path is None else whole_number(_value(top, path, rules))


def _value(top: Mapping[str, Any], path: Path, rules: PassRules) -> Any:
    value: Any = top
    for name in path:
        if not isinstance(value, Mapping):
            return None
        found = value.get(name)
        if rules.also is not None:
            found = _either(value, name, rules.also(name), found)
        value = found
    return value


def whole_number(value: Any) -> int | None:
    """Return a whole number as a vendor may read it, None for anything else.

    Google writes large ones as texts, and servers made with pydantic take them so.
    """
    if isinstance(value, str) and len(value) <= _MOST_DIGITS:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _either(value: Mapping[str, Any], name: str, other: str, found: Any) -> Any:
    """Return a member in whichever of its two spellings it stands."""
    also = value.get(other) if other != name else None
    if found is not None and also is not None:
        # Which one counts is the vendor's to say; Google refuses both.
        raise BadRequest(f"{name} is given twice, also as {other}.", param=name)
    return also if found is None else found
