"""One cell of the conformance table, computed from what really crossed the wire."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeVar

from kurolproxy.ir import (
    BlockStart,
    Delta,
    Failure,
    ProtocolName,
    Request,
    StreamEvent,
    UsageSeen,
)
from kurolproxy.protocols.base import AnswerContext
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.normalise import normalise
from kurolproxy.protocols.registry import CODECS
from tests.fakes.answers import json_answer, stream_answer
from tests.pairs.features import Feature
from tests.pairs.proofs import proved, second
from tests.pairs.rules import RULES, Rule, Told, plain, plain_answer
from tests.pairs.vendors import Turn, begun, frames, late, whole
from tests.pairs.world import FAMILIES, World

GRADES = ("exact", "emulated", "dropped", "refused", "lost", "-")
"""Best first; ``-``: the client's protocol has no words for it."""
_MOST_RULES = 3
"""Who needs more of them to see that two requests are equal sees what is not there."""
LATE = "the vendor had a bad day"

T = TypeVar("T", Request, Told)


@dataclass(frozen=True, slots=True)
class Cell:
    """How well one feature gets from one client to one upstream and back.

    Attributes:
        rules: under which both sides are equal.
        why: what differed; not part of the table.
    """

    grade: str
    rules: tuple[str, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        return f"{self.grade}: {', '.join(self.rules)}" if self.rules else self.grade

    def worse_than(self, other: Cell) -> bool:
        """Return whether this is worse: by its grade, or by a rule more."""
        mine, theirs = GRADES.index(self.grade), GRADES.index(other.grade)
        return mine > theirs or (mine == theirs and not set(self.rules) <= set(other.rules))


def worst(cells: Iterable[Cell]) -> Cell:
    """Return the cell for several runs of one feature."""
    found = sorted(cells, key=lambda cell: GRADES.index(cell.grade))
    last = found[-1]
    if last.grade != "emulated":
        return last
    names = {name for cell in found for name in cell.rules}
    return Cell("emulated", tuple(rule.name for rule in RULES if rule.name in names))


async def measure(
    world: World, client: ProtocolName, upstream: ProtocolName, feature: Feature
) -> Cell:
    """Compute one cell."""
    if not feature.sayable(client):
        return Cell("-")
    run = _round_trip if feature.name == "reasoning round trip" else _one_turn
    return worst([await run(world, client, upstream, feature, s) for s in feature.streams])


async def _one_turn(
    world: World, client: ProtocolName, upstream: ProtocolName, feature: Feature, stream: bool
) -> Cell:
    world.forget()
    turn = feature.turn(upstream)
    body = _script(world, upstream, feature, turn, stream)
    heard = await world.ask(client, upstream, feature.ask, stream=stream)
    crossed = world.clients.last
    if crossed.status != 200 and not world.fake.requests:
        # Only a 400 is an answer: anything else is a fault of the gateway.
        return Cell("refused" if crossed.status == 400 else "lost", why=heard.error or "")
    asked = _request(client, crossed.sent)
    assert feature.said(asked), f"{client} cannot read {feature.name} in what its SDK said"
    sent = _request(upstream, world.last.body)
    pair = (client, upstream)
    context = _context(asked, upstream)
    given = _told(upstream, body, context, feature, stream=stream)
    got = _told(client, bytes(crossed.got), context, feature, stream=stream)
    one = _grade(plain(asked, feature.fields), plain(sent, feature.fields), pair, "request")
    if one.grade == "lost" and any(_named(each, feature.names) for each in crossed.dropped):
        one = replace(one, grade="dropped")
    return worst([one, _grade(given, got, pair, "answer")])


def _named(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in prefixes)


def _script(
    world: World, upstream: ProtocolName, feature: Feature, turn: Turn, stream: bool
) -> bytes:
    """Let the vendor say the turn; return the bytes of what it says."""
    if not stream:
        return json.dumps(_answer(world, upstream, turn)).encode()
    told = {
        "": lambda: frames(upstream, turn),
        "cut": lambda: begun(upstream, turn),
        "error": lambda: late(upstream, turn, LATE),
    }[feature.breaks]()
    world.fake.always(stream_answer(told))
    return b"".join(told)


def _answer(world: World, upstream: ProtocolName, turn: Turn) -> dict[str, Any]:
    value = whole(upstream, turn)
    world.fake.always(json_answer(value))
    return value


# --- both sides, decoded ----------------------------------------------------------------


def _request(protocol: ProtocolName, body: bytes) -> Request:
    return normalise(CODECS[protocol].decode_request(json.loads(body)))


def _context(asked: Request, upstream: ProtocolName) -> AnswerContext:
    ids = iter(range(1_000_000))
    return AnswerContext(
        model="m",
        created=0,
        new_id=lambda prefix: f"{prefix}{next(ids)}",
        request=asked,
        family=FAMILIES[upstream],
    )


def _told(
    protocol: ProtocolName, body: bytes, context: AnswerContext, feature: Feature, *, stream: bool
) -> Told:
    codec = CODECS[protocol]
    if stream:
        decoder = codec.decoder(context)
        events = [*decoder.feed(body), *decoder.close()]
    else:
        events = codec.decode_response(json.loads(body), context)
    told = _read(events, feature)
    kept = {name: getattr(told, name) for name in feature.aspects if name in Told.__slots__}
    if "texts" in feature.aspects or "arguments" in feature.aspects:
        kept["deltas"] = told.deltas
    return plain_answer(Told(**kept))


def _read(events: list[StreamEvent], feature: Feature) -> Told:
    kind = "tool" if "arguments" in feature.aspects else "text"
    deltas = tuple(_deltas(events, kind))
    usages = [event.usage for event in events if isinstance(event, UsageSeen)]
    usage = usages[-1] if usages else None
    folded = fold(events)
    if isinstance(folded, Failure):
        # Whose words an error has is compared where there are words of a vendor.
        words = LATE if LATE in folded.message else "cut"
        return Told(usage=usage, deltas=deltas, broke=words)
    return Told(folded.blocks, folded.finish, usage, deltas)


def _deltas(events: list[StreamEvent], kind: str) -> Iterator[str]:
    open_kind = ""
    for event in events:
        if isinstance(event, BlockStart):
            open_kind = event.kind
        elif isinstance(event, Delta) and open_kind == kind:
            yield event.text


# --- the grade --------------------------------------------------------------------------


def _grade(one: T, other: T, pair: tuple[ProtocolName, ProtocolName], side: str) -> Cell:
    """Compare both ends; find the fewest rules under which they are equal."""
    if one == other:
        return Cell("exact")
    rules = [rule for rule in RULES if getattr(rule, side) is not None and rule.where(pair)]
    for some in _subsets(rules):
        if _under(one, some, side) == _under(other, some, side):
            return Cell("emulated", tuple(rule.name for rule in some))
    return Cell("lost", why=f"{side}:\n  {one}\n  {other}")


def _subsets(rules: list[Rule]) -> Iterator[tuple[Rule, ...]]:
    """Yield the ways to choose among the rules, the fewest first."""
    for size in range(1, _MOST_RULES + 1):
        yield from combinations(rules, size)


def _under(value: T, rules: tuple[Rule, ...], side: str) -> T:
    for rule in rules:
        change: Callable[[T], T] = getattr(rule, side)
        value = change(value)
    return value


# --- the round trip ---------------------------------------------------------------------


async def _round_trip(
    world: World, client: ProtocolName, upstream: ProtocolName, feature: Feature, stream: bool
) -> Cell:
    world.forget()
    turn = feature.turn(upstream)
    heard = await world.ask(client, upstream, feature.ask, turn, stream=stream)
    if heard.error is not None:
        return Cell("lost", why=heard.error)
    again = second(feature.ask, heard.native)
    heard = await world.ask(client, upstream, again, Turn(words=("Done.",)), stream=stream)
    crossed = world.clients.last
    if not proved(upstream, world.body):
        named = any(_named(each, feature.names) for each in crossed.dropped)
        return Cell("dropped" if named else "lost", why=f"{heard.error}: {world.body}")
    native = client == upstream and proved(client, json.loads(crossed.sent))
    if native:
        return Cell("exact")
    behind = any(_named(each, feature.names) for each in crossed.dropped)
    return Cell("emulated", ("sealed token", "words left behind") if behind else ("sealed token",))
