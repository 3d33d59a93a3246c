"""``connect``: the same texts as the dashboard's, from the configuration or without one."""

from __future__ import annotations

import pytest

from kurolproxy.connect.tools import TOOLS
from kurolproxy.connect.wanted import ModelFacts, Wanted
from tests.cli.sites import Site


def test_tools_are_listed(site: Site) -> None:
    assert [each["client"] for each in site.json("connect", "list")] == list(TOOLS)
    assert "Claude Code" in site.run("connect").stdout


@pytest.mark.parametrize("tool", TOOLS)
def test_settings_are_those_of_the_library(site: Site, tool: str) -> None:
    options = ("--model", "echo", "--small-model", "demo-slow", "--key", "sk-1", "--shell")
    told = site.json("connect", tool, *options, "powershell", "--base-url", "https://llm.test/")
    wanted = Wanted(
        "https://llm.test",
        ModelFacts("echo", context_window=200_000),
        ModelFacts("demo-slow"),
        "sk-1",
        "powershell",
    )
    assert [each["text"] for each in told["steps"]] == [
        each.text for each in TOOLS[tool].steps(wanted)
    ]


def test_model_and_address_come_from_the_configuration(site: Site) -> None:
    site.write(site.config.read_text().replace("[server]", '[server]\npublic_url = "https://a.b"'))
    told = site.run("connect", "codex").stdout
    assert 'model = "demo-echo"' in told
    assert 'base_url = "https://a.b/v1"' in told
    assert '"context_window": 200000' in told


def test_another_gateway_may_have_models_that_this_one_has_not(site: Site) -> None:
    refused = site.run("connect", "curl", "--model", "gpt-9")
    assert refused.exit_code == 1
    assert "no model 'gpt-9'" in refused.stderr
    told = site.run("connect", "curl", "--model", "gpt-9", "--base-url", "https://a.b")
    assert '"model": "gpt-9"' in told.stdout


def test_without_a_configuration_a_model_has_to_be_named(site: Site) -> None:
    site.config.unlink()
    assert site.run("connect", "kilo").exit_code == 2
    told = site.run("connect", "kilo", "--model", "gpt-9").stdout
    assert '"baseURL": "http://127.0.0.1:8080/v1"' in told


def test_an_unknown_tool_is_a_wrong_use(site: Site) -> None:
    result = site.run("connect", "emacs")
    assert result.exit_code == 2
    assert "these are: claude-code, codex" in result.stderr
