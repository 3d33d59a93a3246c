"""The example file names every key, shows the defaults, and loads as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.config.load import load, parse
from kurolproxy.config.model import Config
from kurolproxy.config.problems import ConfigError
from kurolproxy.config.schema import SECTIONS, Key, every_key
from kurolproxy.ir import ModelTraits

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "kurolproxy.example.toml"
ENVIRON = {
    name: f"sk-{name.lower()}-0123456789"
    for name in (
        *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_API_KEY", "LAB_API_KEY"),
        *("EAST_API_KEY", "EAST_API_KEY_2", "WEST_API_KEY"),
    )
}
# Where a key of these tables stands in the parsed file.
TABLES = {
    "[[upstreams]]": ("upstreams",),
    "[[models]]": ("models",),
    "targets of [[models]]": ("models", "targets"),
    "price of [[models]]": ("models", "price"),
    "[[plans]]": ("plans",),
}


def uncommented() -> str:
    """The example with every setting switched on: "#key" is one, "# text" is not."""
    return re.sub(r"^#(?=\S)", "", EXAMPLE.read_text(), flags=re.MULTILINE)


def entries(value: Any, steps: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every table that ``steps`` lead to, through all elements of arrays."""
    if isinstance(value, list):
        return [found for each in value for found in entries(each, steps)]
    if not steps:
        return [value]
    return entries(value[steps[0]], steps[1:]) if steps[0] in value else []


def sections(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in SECTIONS}


def test_example_loads_without_a_warning_when_its_variables_are_set() -> None:
    config = parse(EXAMPLE.read_text(), "example.toml", ENVIRON)
    assert config.warnings == ()
    assert list(config.catalog.models) == ["gpt-4o", "claude-sonnet-4-5"]
    plan = config.catalog.plans["team"]
    assert [model.id for model in config.catalog.active(plan)] == list(config.catalog.models)


def test_example_names_the_variables_that_are_not_set() -> None:
    with pytest.raises(ConfigError) as caught:
        load(EXAMPLE, {})
    assert [problem.message for problem in caught.value.problems] == [
        "the environment variable OPENAI_API_KEY is not set",
        "the environment variable ANTHROPIC_API_KEY is not set",
    ]


def test_example_with_every_setting_switched_on_is_valid() -> None:
    config = parse(uncommented(), "example.toml", ENVIRON)
    assert config.warnings == ()
    assert len(config.catalog.upstreams) == 6
    assert set(config.secrets) == set(ENVIRON.values())


def test_model_with_several_ways_has_weights_and_a_spare() -> None:
    config = parse(uncommented(), "example.toml", ENVIRON)
    ways = [
        (each.upstream.name, each.priority, each.weight)
        for each in config.catalog.models["llama"].targets
    ]
    assert ways == [("east", 0, 3), ("west", 0, 1), ("azure", 1, 1)]
    east = config.catalog.upstreams["east"]
    assert (len(east.api_keys), east.max_concurrent) == (2, 32)


def test_settings_of_the_sections_show_the_defaults() -> None:
    config = parse(uncommented(), "example.toml", ENVIRON)
    assert sections(config) == sections(parse("", "empty.toml", {}))


@pytest.mark.parametrize("key", every_key(), ids=lambda key: f"{key.name} in {key.table}")
def test_example_has_every_key(key: Key) -> None:
    document = tomllib.loads(uncommented())
    steps = TABLES.get(key.table, (key.table.strip("[]"),))
    written = [entry for entry in entries(document, steps) if key.name in entry]
    # A target's flags are described once, at its model.
    if not written and key.table.startswith("targets"):
        written = [entry for entry in document["models"] if key.name in entry]
    assert written


FLAGS = [key for key in every_key() if key.name in ModelTraits.__slots__]


@pytest.mark.parametrize("key", FLAGS, ids=lambda key: f"{key.name} in {key.table}")
def test_flags_of_the_example_are_the_careful_defaults(key: Key) -> None:
    (model,) = [m for m in tomllib.loads(uncommented())["models"] if m["id"] == "qwen3-coder"]
    if key.default is not None:
        assert model[key.name] == (
            list(key.default) if isinstance(key.default, tuple) else key.default
        )


def test_design_keys_are_all_there() -> None:
    """The names are a contract: a renamed key breaks files of users."""
    names = {f"{key.table} {key.name}" for key in every_key()}
    assert {key for key in DESIGN_KEYS if key not in names} == set()
    assert {name for name in names if name not in DESIGN_KEYS} == set()


def _design(table: str, names: str) -> list[str]:
    return [f"{table} {name}" for name in names.split()]


_TIMEOUTS = " connect_timeout_s first_content_timeout_s idle_timeout_s answer_timeout_s"
_FLAGS = (
    " reasoning_family tools_with_reasoning allow_store allow_service_tier forward_user"
    " auto_cache sampling efforts thinking thinking_can_disable forced_tool_choice"
    " system_position mid_system max_output_tokens context_window vision pdf cache"
    " replay_reasoning_content gemini_schema stream_options max_tokens_field developer_role"
    " top_k custom_tools prefill tool_result_media structured_output no_effort_with_tools"
    " hosted_tools"
)
DESIGN_KEYS = [
    *_design(
        "[server]",
        "listen public_url public_urls state_dir contact notice trusted_proxies allowed_hosts"
        " drain_timeout_s drain_delay_s keepalive_interval_s",
    ),
    *_design(
        "[limits]",
        "max_body_bytes max_body_bytes_in_flight header_timeout_s body_timeout_s"
        " max_event_bytes max_json_depth idle_connection_timeout_s stalled_reader_timeout_s"
        " failed_logins_per_minute max_keys_per_account",
    ),
    *_design("[timeouts]", _TIMEOUTS),
    *_design("[ledger]", "durability when_unwritable detail_days"),
    *_design("[metrics]", "listen token"),
    *_design("[log]", "requests level format"),
    *_design("[dashboard]", "enabled signup signup_plan insecure_http"),
    *_design(
        "[[upstreams]]",
        "name preset protocols base_url paths api_version api_keys headers proxy"
        " max_concurrent trace" + _TIMEOUTS,
    ),
    *_design("[[models]]", "id aliases active protocols targets price" + _TIMEOUTS + _FLAGS),
    *_design("targets of [[models]]", "upstream model priority weight" + _TIMEOUTS + _FLAGS),
    *_design("price of [[models]]", "prompt completion cache_read cache_write"),
    *_design(
        "[[plans]]",
        "name models requests_per_minute daily_tokens concurrent_requests max_output_tokens"
        " reserve_output_tokens cached_tokens_weight",
    ),
]
