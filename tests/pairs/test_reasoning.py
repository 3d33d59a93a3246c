"""Thoughts survive every pair: the upstream gets its own proof back, and no other one."""

from __future__ import annotations

import json

import pytest

from kurolproxy.ir import ProtocolName
from tests.pairs.asks import Ask, Back, Heard, user
from tests.pairs.features import WEATHER, ZURICH
from tests.pairs.proofs import (
    PROOF,
    TEXT,
    THOUGHTS,
    Change,
    damaged,
    proofs_of,
    proved,
    retold,
    second,
)
from tests.pairs.vendors import Turn
from tests.pairs.wires import read
from tests.pairs.world import (
    PAIRS,
    PROTOCOLS,
    SHORT,
    World,
    both_ways,
    every_cross,
    every_pair,
    in_one_loop,
    pairs,
)

pytestmark = in_one_loop

ASK = Ask(effort="high", tools=(WEATHER,))
ASKING = Turn(thoughts=THOUGHTS, signature=PROOF, words=("Looking.",), calls=(ZURICH,))
DONE = Turn(words=("Done.",))


async def thought(
    world: World, client: ProtocolName, upstream: ProtocolName, *, stream: bool = False
) -> Heard:
    """Return the answer of a vendor that thinks before it calls."""
    heard = await world.ask(client, upstream, ASK, ASKING, stream=stream)
    assert heard.error is None
    return heard


@every_pair
@both_ways
async def test_upstream_gets_its_own_proof_back_byte_for_byte(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    heard = await thought(world, client, upstream, stream=stream)
    assert (heard.thoughts, heard.text) == (TEXT, "Looking.")
    again = second(ASK, heard.native)
    heard = await world.ask(client, upstream, again, DONE, stream=stream)
    assert (heard.error, heard.text) == (None, "Done.")
    assert proved(upstream, world.body), world.body
    assert b"a3gx" not in world.last.body
    sent = read(upstream, world.body)
    assert sent.effort == "high"
    assert sent.items == [
        ("user", "text", "Hi"),
        ("assistant", "text", "Looking."),
        ("assistant", "call", ("call_1", "weather", {"city": "Zürich"})),
        ("tool", "result", ("call_1", "rain")),
    ]
    # Gemini proves its call, not its thoughts: where the two travel apart, the words of the
    # thoughts prove nothing and stay behind.
    apart = {"openai-responses": ["messages.reasoning"], "anthropic": ["messages.thinking"]}
    lost = apart.get(client, []) if upstream == "gemini" else []
    assert world.clients.last.dropped == lost


# Chat carries proofs on calls only, in both directions.
_WITHOUT_CALLS = [pair for pair in PAIRS if "openai-chat" not in pair]


@pairs(_WITHOUT_CALLS)
@both_ways
async def test_proof_comes_back_without_a_call_too(
    client: ProtocolName, upstream: ProtocolName, stream: bool, world: World
) -> None:
    turn = Turn(thoughts=THOUGHTS, signature=PROOF, words=("Yes.",))
    ask = Ask(effort="high")
    heard = await world.ask(client, upstream, ask, turn, stream=stream)
    assert (heard.thoughts, heard.text) == (TEXT, "Yes.")
    again = Ask(effort="high", turns=(user("Hi"), Back(heard.native), user("Sure?")))
    await world.ask(client, upstream, again, DONE, stream=stream)
    assert proved(upstream, world.body), world.body
    assert read(upstream, world.body).of("text") == ["Hi", "Yes.", "Sure?"]


# --- proofs of others -------------------------------------------------------------------

_MOVES = [
    (client, before, after)
    for client in PROTOCOLS
    for before in PROTOCOLS
    for after in PROTOCOLS
    if before != after
]


@pytest.mark.parametrize(
    ("client", "before", "after"), _MOVES, ids=["-".join(SHORT[x] for x in row) for row in _MOVES]
)
async def test_proof_of_one_vendor_is_never_sent_to_another(
    client: ProtocolName, before: ProtocolName, after: ProtocolName, world: World
) -> None:
    heard = await thought(world, client, before)
    again = second(ASK, heard.native)
    heard = await world.ask(client, after, again, DONE)
    assert (heard.error, heard.text) == (None, "Done.")
    no_proof(world, after)
    sent = read(after, world.body)
    # Thoughts are never passed off as words.
    assert sent.of("text") == ["Hi", "Looking."]
    assert sent.of("result") == [("call_1", "rain")]


def no_proof(world: World, upstream: ProtocolName) -> None:
    body = world.last.body
    assert b"a3gx" not in body
    assert PROOF.encode() not in body
    assert PROOF.replace("+", "-").replace("/", "_").encode() not in body
    if upstream != "openai-chat":
        assert proofs_of(upstream, world.body) == []


_DAMAGES: list[tuple[str, Change]] = [
    ("cut off", lambda token: token[: len(token) // 8 * 4]),
    ("of another family", retold(f="somebody-else")),
    ("of another vendor", retold(p="x")),
    ("without a proof", retold(s=None)),
    ("no token", lambda _token: b"AAAAAAAAAAAA"),
]


@pytest.mark.parametrize("damage", [row[1] for row in _DAMAGES], ids=[row[0] for row in _DAMAGES])
@every_cross
async def test_damaged_proof_is_dropped_and_the_conversation_goes_on(
    client: ProtocolName, upstream: ProtocolName, damage: Change, world: World
) -> None:
    heard = await thought(world, client, upstream)
    native = damaged(client, heard.native, damage)
    heard = await world.ask(client, upstream, second(ASK, native), DONE)
    assert (heard.error, heard.text) == (None, "Done.")
    no_proof(world, upstream)
    assert not proved(upstream, world.body)
    assert read(upstream, world.body).of("text") == ["Hi", "Looking."]


@every_pair
async def test_thoughts_of_a_client_that_did_not_ask_for_them_are_proved_all_the_same(
    client: ProtocolName, upstream: ProtocolName, world: World
) -> None:
    ask = Ask(tools=(WEATHER,))
    heard = await world.ask(client, upstream, ask, ASKING)
    await world.ask(client, upstream, second(ask, heard.native), DONE)
    assert proved(upstream, world.body), json.dumps(world.body)
