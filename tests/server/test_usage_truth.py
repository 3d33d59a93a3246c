"""What the ledger says of a call is what its upstream told, mended where it told nonsense."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from kurolproxy.app import Gateway
from kurolproxy.config.load import parse
from kurolproxy.ir import ProtocolName
from kurolproxy.policy.estimate import body_tokens
from tests.conftest import Running, new_key
from tests.fakes.answers import Answer, json_answer, stream_answer
from tests.fakes.recordings import Figures
from tests.fakes.upstream import FakeUpstream
from tests.pairs.vendors import Turn, frames, vendor, whole
from tests.server.families import (
    FAMILIES,
    SHORT,
    USAGE,
    Got,
    ask,
    both_ways,
    configuration,
    metric,
    model_of,
    plan,
    request,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = ("Hello, this ", "is text.")
WEIGHED = 7  # ceil(20 / 3)
MOST = 10**9
PAIRS = [(client, upstream) for client in FAMILIES for upstream in FAMILIES]
every_pair = pytest.mark.parametrize(
    ("client", "upstream"), PAIRS, ids=[f"{SHORT[one]}-{SHORT[other]}" for one, other in PAIRS]
)
# Each upstream read by its scanner (pass-through) and by its decoder.
_ACROSS: dict[ProtocolName, ProtocolName] = {
    "openai-chat": "anthropic",
    "openai-responses": "gemini",
    "anthropic": "openai-responses",
    "gemini": "openai-chat",
}
BOTH_READERS = [(each, each) for each in FAMILIES] + [(_ACROSS[each], each) for each in FAMILIES]
both_readers = pytest.mark.parametrize(
    ("client", "upstream"),
    BOTH_READERS,
    ids=[f"{SHORT[one]}-{SHORT[other]}" for one, other in BOTH_READERS],
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Running, FakeUpstream, aiohttp.ClientSession]]:
    """Yield one gateway in front of one vendor, for the module."""
    folder = tmp_path_factory.mktemp("usage")
    async with FakeUpstream() as fake, aiohttp.ClientSession() as http:
        plans = plan("half", cached_tokens_weight=0.5) + plan("none", cached_tokens_weight=0.0)
        text = configuration(fake.base_url, plans)
        text = text.replace('state_dir = "state"', f'state_dir = "{folder / "state"}"')
        with (folder / "log").open("wb") as log:
            gateway = Gateway(parse(text, "test.toml", {}), log_fd=log.fileno())
            await gateway.start()
            host, port = gateway.addresses[0]
            key = await new_key(gateway, "someone@example.org", "default")
            yield Running(gateway, f"http://{host}:{port}", key, folder / "log"), fake, http
            await gateway.stop()


class Books:
    """A gateway, its vendor and its ledger."""

    def __init__(self, running: Running, fake: FakeUpstream, http: aiohttp.ClientSession) -> None:
        self.running, self.fake, self.http = running, fake, http

    async def ask(
        self,
        client: ProtocolName,
        upstream: ProtocolName,
        *,
        stream: bool,
        key: str | None = None,
        **more: Any,
    ) -> tuple[Got, dict[str, Any]]:
        """Ask once; return the answer and its one row."""
        got = await ask(
            self.http,
            self.running,
            key or self.running.key,
            client,
            model=model_of(upstream),
            stream=stream,
            **more,
        )
        return got, await self.row(got.headers["x-request-id"])

    async def row(self, request_id: str) -> dict[str, Any]:
        """Return the row of a request; there is exactly one."""
        await self.running.gateway.state.usage.flush()
        found = await self.running.gateway.database.read(
            "SELECT * FROM usage WHERE request_id = ?", (request_id,)
        )
        (row,) = found
        return dict(row)

    def clamped(self, upstream: ProtocolName) -> int:
        """Return how many usages of an upstream were clamped."""
        label = f'upstream="{SHORT[upstream]}"'
        return int(metric(self.running, "kurol_clamped_usage_total", label))


@pytest.fixture
def books(served: tuple[Running, FakeUpstream, aiohttp.ClientSession]) -> Iterator[Books]:
    """Return the gateway with nothing scripted."""
    running, fake, http = served
    fake.requests.clear()
    fake.always(vendor(Turn(words=WORDS, usage=USAGE)))
    yield Books(running, fake, http)
    assert fake.unscripted == []


def figures(row: dict[str, Any]) -> Figures:
    """Return the raw counts of a row."""
    return Figures(*(row[name] for name in Figures._fields))


def estimate(client: ProtocolName, upstream: ProtocolName, *, stream: bool) -> int:
    """Return the estimate of the prompt that ``ask`` sends."""
    _, body = request(client, model_of(upstream), stream=stream)
    return body_tokens(json.dumps(body).encode())


# --- what is told -------------------------------------------------------------------------


@every_pair
@both_ways
async def test_all_parts_of_a_usage_stand_in_the_row(
    client: ProtocolName, upstream: ProtocolName, stream: bool, books: Books
) -> None:
    told = USAGE if upstream == "gemini" else USAGE._replace(cache_write=4)
    books.fake.always(vendor(Turn(words=WORDS, usage=told)))
    got, row = await books.ask(client, upstream, stream=stream)
    assert got.status == 200
    assert figures(row) == told
    assert (row["charged"], row["estimated"]) == (42, 0)
    assert (row["status"], row["outcome"], row["streamed"]) == (200, "ok", stream)
    assert (row["client_protocol"], row["upstream_protocol"]) == (client, upstream)
    assert (row["model"], row["upstream"]) == (model_of(upstream), SHORT[upstream])


@pytest.mark.parametrize(("name", "charged"), [("default", 42), ("half", 38), ("none", 34)])
@pytest.mark.parametrize("upstream", FAMILIES)
@both_ways
async def test_plan_weighs_cached_tokens_in_what_is_charged_alone(
    name: str, charged: int, upstream: ProtocolName, stream: bool, books: Books
) -> None:
    key = await books.running.new_key(name)
    _, row = await books.ask(upstream, upstream, stream=stream, key=key)
    assert figures(row) == USAGE
    assert row["charged"] == charged


# --- what is not, or cannot be ------------------------------------------------------------

MISSING = "missing"
EST, SAID = "the estimate", "what was said"

# (prompt told, completion told) -> (prompt, completion, estimated, clamped)
TOLD: list[tuple[str, Any, Any, Any, Any, bool, bool]] = [
    ("both", 30, 12, 30, 12, False, False),
    ("no prompt", MISSING, 12, EST, 12, True, False),
    ("no completion", 30, MISSING, 30, SAID, True, False),
    ("neither", MISSING, MISSING, EST, SAID, True, False),
    ("zeros", 0, 0, EST, SAID, True, False),
    ("null prompt", None, 12, EST, 12, True, False),
    ("null completion", 30, None, 30, SAID, True, False),
    ("negative prompt", -5, 12, EST, 12, True, True),
    ("negative completion", 30, -5, 30, SAID, True, True),
    ("most", MOST, 12, MOST, 12, False, False),
    ("one too many", MOST + 1, 12, MOST, 12, False, True),
    ("2**63", 2**63, 2**63, MOST, MOST, False, True),
    ("10**19", 30, 10**19, 30, MOST, False, True),
    ("10**40", 10**40, 12, MOST, 12, False, True),
    ("whole float", 30.0, 12, 30, 12, False, False),
    ("broken float", 30.7, 12, 30, 12, False, True),
    ("huge float", 30, 1e300, 30, MOST, False, True),
    ("string", "30", 12, EST, 12, True, True),
    ("not a number", 30, "NaN", 30, SAID, True, True),
    ("boolean", True, 12, EST, 12, True, True),
    ("list", 30, [12], 30, SAID, True, True),
    ("object", {"tokens": 30}, 12, EST, 12, True, True),
]
_NAMES = {
    "openai-chat": ("prompt_tokens", "completion_tokens"),
    "openai-responses": ("input_tokens", "output_tokens"),
    "anthropic": ("input_tokens", "output_tokens"),
    "gemini": ("promptTokenCount", "candidatesTokenCount"),
}


def telling(protocol: ProtocolName, *usages: Any, stream: bool) -> Answer:
    """Return an answer whose usage is another one.

    Args:
        usages: pairs of prompt and completion, as they are told; several: one after the
            other in a stream.
    """
    turn = Turn(words=WORDS, usage=USAGE)
    told = [_usage(protocol, *each) for each in usages]
    if not stream:
        return json_answer(_told(whole(protocol, turn), told[-1]))
    out: list[bytes] = []
    for piece in frames(protocol, turn):
        if b'"usage' not in piece:
            out.append(piece)
            continue
        head, _, rest = piece.partition(b"data: ")
        text = rest.rstrip(b"\r\n")
        end = rest[len(text) :]
        value = json.loads(text)
        if value.get("type") == "message_start":
            # What it says of the output holds a place.
            value["message"]["usage"] = {**told[0], "output_tokens": 1}
            each = [value]
        else:
            each = [_told(value, usage) for usage in told]
        if protocol in ("openai-responses", "gemini") and len(each) > 1:
            # They end with their usage: the others come before.
            early = [_early(protocol, one) for one in each[:-1]]
            each = [*early, each[-1]]
        for one in each:
            named = b"event: %b\n" % one["type"].encode() if head else b""
            out.append(named + b"data: " + json.dumps(one).encode() + end)
    return stream_answer(out)


def _usage(protocol: ProtocolName, prompt: Any, completion: Any) -> dict[str, Any]:
    pairs = zip(_NAMES[protocol], (prompt, completion), strict=True)
    return {name: value for name, value in pairs if value is not MISSING}


def _told(value: dict[str, Any], usage: Any) -> dict[str, Any]:
    """Return an answer, or a frame of one, with another usage in it."""
    out = json.loads(json.dumps(value))
    inner = out.get("response", out)
    inner["usageMetadata" if "usageMetadata" in inner else "usage"] = usage
    return out


def _early(protocol: ProtocolName, value: dict[str, Any]) -> dict[str, Any]:
    if protocol == "gemini":
        del value["candidates"][0]["finishReason"]
    else:
        value["type"] = value["response"]["status"] = "response.in_progress"
    return value


@pytest.mark.parametrize(
    ("prompt", "completion", "asked", "said", "estimated", "clamped"),
    [each[1:] for each in TOLD],
    ids=[each[0] for each in TOLD],
)
@both_readers
@both_ways
async def test_absurd_usage_is_clamped_or_estimated_and_counted(
    prompt: Any,
    completion: Any,
    asked: Any,
    said: Any,
    estimated: bool,
    clamped: bool,
    client: ProtocolName,
    upstream: ProtocolName,
    stream: bool,
    books: Books,
) -> None:
    before = books.clamped(upstream)
    books.fake.always(telling(upstream, (prompt, completion), stream=stream))
    got, row = await books.ask(client, upstream, stream=stream)
    assert got.status == 200
    if asked is EST:
        asked = estimate(client, upstream, stream=stream)
    if said is SAID:
        said = WEIGHED
    assert (row["prompt"], row["completion"]) == (asked, said)
    assert row["charged"] == min(asked + said, MOST)
    assert (row["estimated"], row["outcome"]) == (estimated, "ok")
    assert books.clamped(upstream) == before + clamped


@pytest.mark.parametrize(
    ("usages", "prompt", "completion"),
    [
        ([(10, 5), (30, 12)], 30, 12),
        ([(40, 20), (30, 12)], 30, 12),
        ([(30, 12), (30, 12)], 30, 12),
    ],
    ids=["grows", "shrinks", "stays"],
)
@both_readers
async def test_of_several_usages_the_last_counts(
    usages: list[tuple[int, int]],
    prompt: int,
    completion: int,
    client: ProtocolName,
    upstream: ProtocolName,
    books: Books,
) -> None:
    books.fake.always(telling(upstream, *usages, stream=True))
    _, row = await books.ask(client, upstream, stream=True)
    assert (row["prompt"], row["completion"], row["estimated"]) == (prompt, completion, 0)


@pytest.mark.parametrize("client", ["openai-chat", "anthropic"])
@pytest.mark.parametrize("upstream", ["openai-chat", "anthropic"])
async def test_half_that_the_last_usage_leaves_out_stays_as_it_was_told(
    client: ProtocolName, upstream: ProtocolName, books: Books
) -> None:
    books.fake.always(telling(upstream, (30, 5), (MISSING, 12), stream=True))
    _, row = await books.ask(client, upstream, stream=True)
    assert (row["prompt"], row["completion"], row["estimated"]) == (30, 12, 0)


@both_readers
@both_ways
async def test_no_answer_costs_more_than_a_sum_can_bear(
    client: ProtocolName, upstream: ProtocolName, stream: bool, books: Books
) -> None:
    books.fake.always(telling(upstream, (2**62, 2**62), stream=stream))
    _, row = await books.ask(client, upstream, stream=stream)
    assert (row["prompt"], row["completion"], row["charged"]) == (MOST, MOST, MOST)
    (types,) = await books.running.gateway.database.read(
        "SELECT group_concat(DISTINCT typeof(prompt) || typeof(charged)) AS found FROM usage"
    )
    assert types["found"] == "integerinteger"


@pytest.mark.parametrize(
    ("told", "estimated"), [((30, 12), 0), ((MISSING, 12), 42), ((30, MISSING), 37)]
)
async def test_estimated_tokens_are_counted_apart(
    told: tuple[Any, Any], estimated: int, books: Books
) -> None:
    running = books.running
    before = metric(running, "kurol_estimated_tokens_total", 'model="m-chat"')
    books.fake.always(telling("openai-chat", told, stream=False))
    _, row = await books.ask("openai-chat", "openai-chat", stream=False)
    counted = metric(running, "kurol_estimated_tokens_total", 'model="m-chat"') - before
    if told[0] is MISSING:
        estimated = estimate("openai-chat", "openai-chat", stream=False) + 12
    assert counted == estimated == (row["charged"] if row["estimated"] else 0)


# --- whose id it is -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x-request-id", "x-client-request-id"])
@pytest.mark.parametrize(
    ("given", "logged"),
    [
        ("mine", "mine"),
        ("a" * 100, "a" * 64),
        ("caf\u00e9\ttab", "caf\u00e9?tab"),
        ('"},{"', '\\"},{\\"'),
    ],
    ids=["plain", "long", "not printable", "quotes"],
)
@pytest.mark.parametrize("client", FAMILIES)
async def test_same_id_of_a_client_makes_two_rows_under_ids_of_ours(
    name: str, given: str, logged: str, client: ProtocolName, books: Books
) -> None:
    before = books.running.lines()
    ids = set()
    for _ in range(2):
        got, row = await books.ask(client, client, stream=False, headers={name: given})
        assert row["prompt"] == 30
        ids.add(row["request_id"])
        assert got.headers["x-request-id"].startswith("req_")
    assert len(ids) == 2
    written = books.running.lines().removeprefix(before)
    assert written.count(f'"client_request_id":"{logged}"') == 2
    found = await books.running.gateway.database.read(
        "SELECT count(*) AS n FROM usage WHERE request_id = ?", (given,)
    )
    assert found[0]["n"] == 0
