"""Answers in a form of the caller's, by the helpers of both SDKs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from tests.conftest import Starter, toml
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.scripts import Turn, vendor
from tests.server.sdks import HI, Sdks


def text(*words: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": each} for each in words]


class City(BaseModel):
    """What the model is to answer."""

    name: str
    people: int


ANSWER = Turn(words=('{"name": "Oslo", ', '"people": 717710}'))
OSLO = City(name="Oslo", people=717710)


@pytest.mark.parametrize("model", ["c-model", "m-model"])
async def test_openais_parse_gets_its_object(model: str, sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(ANSWER))
    answer = await sdks.chat.chat.completions.parse(model=model, messages=HI, response_format=City)
    assert answer.choices[0].message.parsed == OSLO
    check_schema(fake.last.json, model)
    async with sdks.chat.chat.completions.stream(
        model=model, messages=HI, response_format=City
    ) as events:
        answer = await events.get_final_completion()
    assert answer.choices[0].message.parsed == OSLO
    check_schema(fake.last.json, model)
    assert sdks.dropped == []


@pytest.mark.parametrize("model", ["c-model", "m-model"])
async def test_anthropics_parse_gets_its_object(model: str, sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(ANSWER))
    answer = await sdks.messages.messages.parse(
        model=model, messages=HI, max_tokens=1000, output_format=City
    )
    assert answer.parsed_output == OSLO
    check_schema(fake.last.json, model)
    async with sdks.messages.messages.stream(
        model=model, messages=HI, max_tokens=1000, output_format=City
    ) as events:
        answer = await events.get_final_message()
    assert answer.parsed_output == OSLO
    check_schema(fake.last.json, model)
    assert sdks.dropped == []


def check_schema(body: dict[str, Any], model: str) -> None:
    if model == "c-model":
        form = body["response_format"]
        assert form["type"] == "json_schema"
        assert form["json_schema"]["strict"] is True
        assert form["json_schema"]["name"] in ("City", "response")
        schema = form["json_schema"]["schema"]
    else:
        form = body["output_config"]["format"]
        assert form["type"] == "json_schema"
        schema = form["schema"]
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"name", "people"}
    assert {name: each["type"] for name, each in schema["properties"].items()} == {
        "name": "string",
        "people": "integer",
    }


async def test_keywords_that_messages_refuses_are_told_in_the_description(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("{}",))))
    schema = {
        "$schema": "x",
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 3, "description": "How many."},
            "s": {"type": "string", "pattern": "^a", "format": "uuid"},
        },
        "required": ["n", "s"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    await sdks.ask("chat", "m-model", response_format=form)
    sent = fake.last.json["output_config"]["format"]["schema"]
    assert sent.keys() == {"type", "properties", "required", "additionalProperties"}
    number, word = sent["properties"]["n"], sent["properties"]["s"]
    assert number.keys() == {"type", "description"}
    assert "How many." in number["description"]
    assert "minimum: 3" in number["description"]
    assert word.keys() == {"type", "format", "description"}
    assert "^a" in word["description"]
    assert sdks.dropped == []


async def test_any_json_object_is_asked_for_in_words_on_messages(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("{}",))))
    await sdks.ask("chat", "m-model", response_format={"type": "json_object"})
    assert fake.last.json["system"] == text("Respond with a single JSON object and nothing else.")
    assert "output_config" not in fake.last.json
    assert sdks.dropped == []


@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_schema_is_told_in_words_where_the_upstream_has_no_field(
    client: str, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model="structured_output = false")))
    fake.always(vendor(ANSWER))
    if client == "chat":
        answer = await sdks.chat.chat.completions.parse(
            model="m-model", messages=HI, response_format=City
        )
        assert answer.choices[0].message.parsed == OSLO
        line = fake.last.json["system"][-1]["text"]
        assert "output_config" not in fake.last.json
    else:
        found = await sdks.messages.messages.parse(
            model="c-model", messages=HI, max_tokens=99, output_format=City
        )
        assert found.parsed_output == OSLO
        line = fake.last.json["messages"][0]["content"]
        assert fake.last.json["messages"][0]["role"] == "system"
        assert "response_format" not in fake.last.json
    assert '"people"' in line
    assert "JSON" in line
    assert sdks.dropped == []


@pytest.mark.parametrize("beta", [False, True])
async def test_beta_route_and_old_spelling_are_the_same(
    beta: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(ANSWER))
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    place = sdks.messages.beta.messages if beta else sdks.messages.messages
    form = {"type": "json_schema", "schema": schema}
    await place.create(
        model="c-model", messages=HI, max_tokens=9, extra_body={"output_format": form}
    )
    assert fake.last.path == "/v1/chat/completions"
    assert fake.last.json["response_format"]["json_schema"] == {
        "name": "response",
        "schema": schema,
        "strict": True,
    }
    assert fake.last.header("anthropic-beta") is None
    assert sdks.dropped == []
