"""Which keys of a changed file wait for the next start."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kurolproxy.config.changes import AT_START, needs_restart
from kurolproxy.config.load import parse
from kurolproxy.config.schema import SECTIONS

TAKEN = {
    "server": "public_url public_urls contact notice trusted_proxies allowed_hosts"
    " drain_timeout_s drain_delay_s keepalive_interval_s",
    "limits": "max_body_bytes max_body_bytes_in_flight header_timeout_s body_timeout_s"
    " max_event_bytes max_json_depth stalled_reader_timeout_s failed_logins_per_minute"
    " max_keys_per_account",
    "timeouts": "connect_timeout_s first_content_timeout_s idle_timeout_s answer_timeout_s",
    "ledger": "when_unwritable",
    "metrics": "token",
    "log": "requests level",
    "dashboard": "enabled signup signup_plan insecure_http",
}
"""What a reload takes over, or what nothing reads yet."""


def changed(section: str, key: str) -> Any:
    """Return a configuration with another value at one place, of whatever type."""
    config = parse("", "a.toml", {})
    other = dataclasses.replace(getattr(config, section), **{key: object()})
    return config, dataclasses.replace(config, **{section: other})


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_taken_over_or_told(section: str) -> None:
    keys = {each.name for each in dataclasses.fields(SECTIONS[section])}
    assert {*TAKEN[section].split(), *AT_START.get(section, ())} == keys
    for key in keys:
        told = [f"{section}.{key}"] if key in AT_START.get(section, ()) else []
        assert needs_restart(*changed(section, key)) == told


def test_same_file_needs_nothing() -> None:
    assert needs_restart(parse("", "a.toml", {}), parse("", "a.toml", {})) == []
