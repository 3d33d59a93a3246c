"""A plan's output cap holds however the client writes its own, and in whatever spelling."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.ir import ProtocolName
from kurolproxy.protocols.asked import read
from kurolproxy.protocols.registry import CODECS
from tests.conftest import Running, Starter, toml
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_limits import post

CAP = 100
PLAN = f'[[plans]]\nname = "short"\nmodels = ["*"]\nmax_output_tokens = {CAP}\n'


@pytest.fixture
async def short(fake: FakeUpstream, start: Starter) -> Running:
    fake.always(chat_answer())
    running = await start(toml(fake.base_url, extra=PLAN))
    running.key = await running.new_key("short")
    return running


# What the client says; what the vendor is told.
CAPS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"max_tokens": CAP}),
    ({"max_tokens": 7}, {"max_tokens": 7}),
    ({"max_tokens": 9_000}, {"max_tokens": CAP}),
    ({"max_tokens": 9e3}, {"max_tokens": CAP}),
    ({"max_tokens": "9000"}, {"max_tokens": CAP}),
    ({"max_tokens": "many"}, {"max_tokens": CAP}),
    ({"max_tokens": 9_000.5}, {"max_tokens": CAP}),
    ({"max_tokens": 0}, {"max_tokens": CAP}),
    ({"max_tokens": -1}, {"max_tokens": CAP}),
    (
        {"max_completion_tokens": 7, "max_tokens": 9_000},
        {"max_completion_tokens": 7, "max_tokens": CAP},
    ),
    (
        {"max_completion_tokens": 9_000, "max_tokens": 7},
        {"max_completion_tokens": CAP, "max_tokens": 7},
    ),
    (
        {"max_completion_tokens": 0, "max_tokens": 7},
        {"max_completion_tokens": CAP, "max_tokens": 7},
    ),
    (
        {"max_completion_tokens": None, "max_tokens": 7},
        {"max_completion_tokens": None, "max_tokens": 7},
    ),
]


@pytest.mark.parametrize(("said", "told"), CAPS, ids=[str(said) for said, _ in CAPS])
async def test_no_spelling_of_a_cap_gets_by_the_plans(
    short: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
    said: dict[str, Any],
    told: dict[str, Any],
) -> None:
    assert (await post(http, short, short.key, **said))[0] == 200
    sent = fake.last.json
    assert {name: value for name, value in sent.items() if name.startswith("max_")} == told


async def test_smaller_of_two_caps_stays_when_it_is_translated(
    short: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    caps = {"max_completion_tokens": 7, "max_tokens": 9_000}
    await post(http, short, short.key, model="m-model", **caps)
    assert fake.last.json["max_tokens"] == 7


SAID: list[tuple[ProtocolName, dict[str, Any], int | None, int]] = [
    ("openai-chat", {"max_completion_tokens": 10, "max_tokens": 9_000}, 9_000, 1),
    ("openai-chat", {"max_tokens": 10, "n": "5"}, 10, 5),
    ("openai-chat", {"max_tokens": 10, "n": "5.0"}, 10, 5),
    ("openai-chat", {"n": "inf"}, None, 1),
    ("openai-chat", {"n": True}, None, 1),
    ("openai-chat", {"n": "9" * 5_000}, None, 1),
    ("openai-responses", {"max_output_tokens": 0}, None, 1),
    ("anthropic", {"max_tokens": 0}, 0, 1),
    ("gemini", {"generationConfig": {"maxOutputTokens": "9000", "candidateCount": "3"}}, 9_000, 3),
    ("gemini", {"generation_config": {"max_output_tokens": 0}}, None, 1),
]


@pytest.mark.parametrize(("protocol", "said", "cap", "n"), SAID)
def test_what_is_reserved_is_the_most_that_a_vendor_may_read(
    protocol: ProtocolName, said: dict[str, Any], cap: int | None, n: int
) -> None:
    body = json.dumps({"model": "m", **said}).encode()
    asked = read(body, CODECS[protocol].passing, 100)
    assert (asked.max_tokens, asked.n) == (cap, n)


TWICE: list[tuple[ProtocolName, str, str]] = [
    ("openai-chat", '"max_tokens":9000,"max_tokens":1', "max_tokens"),
    ("openai-chat", r'"max_tokens":9000,"max_tok\u0065ns":1', "max_tokens"),
    ("openai-chat", '"n":9,"n":1', "n"),
    ("openai-responses", '"max_output_tokens":9000,"max_output_tokens":1', "max_output_tokens"),
    ("anthropic", '"max_tokens":9000,"max_tokens":1', "max_tokens"),
    (
        "gemini",
        '"generationConfig":{"maxOutputTokens":9000},"generationConfig":{"maxOutputTokens":1}',
        "generationConfig",
    ),
]


@pytest.mark.parametrize("size", [0, 1_100_000], ids=["small", "large"])
@pytest.mark.parametrize(("protocol", "said", "name"), TWICE)
def test_member_that_says_how_much_may_come_stands_once(
    protocol: ProtocolName, said: str, name: str, size: int
) -> None:
    body = f'{{"model":"m",{said},"user":"{"x" * size}"}}'.encode()
    with pytest.raises(BadRequest, match=f"The field {name} is given twice"):
        read(body, CODECS[protocol].passing, 100)
