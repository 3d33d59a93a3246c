"""The configuration in use, each key with the place that it comes from."""

from __future__ import annotations

import pytest

from kurolproxy.config.explained import explained, place_of
from kurolproxy.config.load import parse
from kurolproxy.config.schema import SECTIONS, section_keys

TEXT = """\
[server]
contact = "ops@example.org"
listen = ["127.0.0.1:1", "127.0.0.1:2"]

[timeouts]
idle_timeout_s = 7

[metrics]
token = "the-token-of-the-metrics"

[[upstreams]]
name = "open.ai"
preset = "openai"
api_keys = ["${FIRST}", "sk-second-secret"]
headers = { x-team = "blue", x-api-token = "hidden-header" }
proxy = "http://user:proxy-password@proxy:3128"
first_content_timeout_s = 99

[[upstreams]]
name = "lab"
base_url = "http://10.0.0.5:8000"
protocols = ["openai-chat"]

[[models]]
id = "<b>gpt</b>"
answer_timeout_s = 55
targets = [
  { upstream = "open.ai", model = "gpt", weight = 3 },
  { upstream = "lab", model = "gpt", developer_role = true },
]
custom_tools = false

[[plans]]
name = "team"
models = ["*"]
daily_tokens = 5
"""
SECRETS = ["sk-first-secret", "sk-second-secret", "hidden-header", "proxy-password", "the-token-of"]


@pytest.fixture(scope="module")
def lines() -> dict[str, tuple[str, str]]:
    config = parse(TEXT, "kurol.toml", {"FIRST": "sk-first-secret"})
    found = explained(config)
    assert len({key for key, *_ in found}) == len(found)
    return {key: (value, place) for key, value, place in found}


OPEN, LAB = "models.<b>gpt</b>.targets.1", "models.<b>gpt</b>.targets.2"
CASES = [
    ("server.contact", "ops@example.org", 2),
    ("server.listen", "127.0.0.1:1, 127.0.0.1:2", 3),
    ("server.notice", "", 0),
    ("limits.max_keys_per_account", "20", 0),
    ("dashboard.enabled", "true", 0),
    ("timeouts.idle_timeout_s", "7.0", 6),
    ("metrics.token", "***", 9),
    ("upstreams.open.ai.name", "open.ai", 12),
    ("upstreams.open.ai.base_url", "https://api.openai.com", 13),
    ("upstreams.open.ai.api_keys", "***, ***", 14),
    ("upstreams.open.ai.headers", "x-team = blue, x-api-token = ***", 15),
    ("upstreams.open.ai.proxy", "http://***@proxy:3128", 16),
    ("upstreams.open.ai.max_concurrent", "", 0),
    ("upstreams.lab.base_url", "http://10.0.0.5:8000", 21),
    ("upstreams.lab.paths", "", 0),
    (f"{OPEN}.weight", "3", 28),
    (f"{OPEN}.priority", "0", 0),
    (f"{OPEN}.first_content_timeout_s", "99.0", 17),
    (f"{OPEN}.answer_timeout_s", "55.0", 26),
    (f"{OPEN}.idle_timeout_s", "7.0", 6),
    (f"{OPEN}.connect_timeout_s", "5.0", 0),
    (f"{OPEN}.max_tokens_field", "max_completion_tokens", 13),
    (f"{OPEN}.custom_tools", "false", 31),
    (f"{OPEN}.protocols", "openai-chat, openai-responses", 13),
    (f"{LAB}.protocols", "openai-chat", 22),
    (f"{LAB}.developer_role", "true", 29),
    (f"{LAB}.max_tokens_field", "max_tokens", 0),
    ("plans.team.daily_tokens", "5", 36),
    ("plans.team.requests_per_minute", "", 0),
]


@pytest.mark.parametrize(("key", "value", "line"), CASES, ids=[each[0] for each in CASES])
def test_key_has_its_value_and_the_place_that_it_comes_from(
    lines: dict[str, tuple[str, str]], key: str, value: str, line: int
) -> None:
    place = f"kurol.toml:{line}" if line else ""
    assert lines[key] == (value, place)


def test_no_secret_is_in_it(lines: dict[str, tuple[str, str]]) -> None:
    whole = repr(lines)
    assert [each for each in SECRETS if each in whole] == []


def test_every_key_of_every_section_is_in_it(lines: dict[str, tuple[str, str]]) -> None:
    wanted = {f"{name}.{key}" for name in SECTIONS for key in section_keys(name)}
    assert wanted <= lines.keys()


def test_element_of_an_array_has_the_place_of_its_header() -> None:
    config = parse(TEXT, "kurol.toml", {"FIRST": "sk-first-secret"})
    assert place_of(config, "plans", 0) == "kurol.toml:33"
    assert place_of(config, "plans", 7) == ""
