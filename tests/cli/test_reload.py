"""``reload`` and ``status``: what a gateway took over, and how its upstreams are."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.cli.sites import Site, call, told


def rewrite(site: Site, old: str, new: str) -> None:
    text = site.config.read_text()
    assert old in text
    site.config.write_text(text.replace(old, new))


@pytest.mark.parametrize("verb", ["reload", "status"])
def test_without_a_gateway_it_exits_with_3(site: Site, verb: str) -> None:
    result = site.run(verb)
    assert result.exit_code == 3
    assert f"no gateway runs on {site.state_dir}" in result.stderr


def test_file_that_cannot_be_used_names_its_problems(site: Site) -> None:
    site.write("[server]\nstat_dir = 'x'\n")
    result = site.run("reload")
    assert result.exit_code == 1
    assert 'did you mean "state_dir"' in result.stderr


async def test_gateway_takes_a_changed_file_and_keeps_its_own_when_it_is_broken(
    living: Site, http: aiohttp.ClientSession
) -> None:
    key = (await asyncio.to_thread(living.key))["key"]
    async with living.serving() as served:
        assert (await call(http, served.base_url, key, model="demo-new")).status == 404
        rewrite(living, 'id = "demo-slow"', 'id = "demo-new"')
        rewrite(living, '[metrics]\nlisten = ""', '[metrics]\nlisten = "127.0.0.1:9"')
        found = await told(living, "reload")
        assert found == {
            "ok": True,
            "needs_restart": ["metrics.listen"],
            "warnings": [],
            "models": 2,
        }
        assert (await call(http, served.base_url, key, model="demo-slow")).status == 404
        rewrite(living, 'name = "team"', 'name = "crew"')
        code, out, err = await living.verb("reload")
        assert (code, out) == (1, "")
        assert "keeps the configuration that it has" in err
        assert "the plan 'team' is missing" in err
        code, out, _ = await living.verb("reload", "--json")
        assert (code, json.loads(out)["ok"]) == (1, False)
        assert (await told(living, "status"))["config_last_reload_ok"] is False
        rewrite(living, 'name = "crew"', 'name = "team"')
        code, out, err = await living.verb("reload")
        assert (code, err) == (0, "")
        assert "was read again; models: 2." in out
        assert "Takes effect at the next start: metrics.listen." in out
        assert (await told(living, "status"))["config_last_reload_ok"] is True


async def test_status_shows_upstreams_and_what_rests(
    living: Site, http: aiohttp.ClientSession
) -> None:
    rewrite(living, '["${VENDOR_KEY}"]', '["wrong-key", "${VENDOR_KEY}"]\nmax_concurrent = 9')
    key = (await asyncio.to_thread(living.key))["key"]
    async with living.serving() as served:
        before: Any = await told(living, "status")
        assert (await call(http, served.base_url, key)).status == 200
        after: Any = await told(living, "status")
        shown = (await living.verb("status"))[1]
    assert before["draining"] is False
    assert before["upstreams"] == [
        {"name": "demo", "up": True, "running": 0, "max_concurrent": 9, "resting": []}
    ]
    [upstream] = after["upstreams"]
    assert upstream["up"] is True
    [rest] = upstream["resting"]
    assert 250 < rest.pop("seconds") <= 300
    assert rest == {"credential": 1, "model": None, "why": "HTTP 401", "account": None}
    last = shown.splitlines()[-1]
    assert last.startswith("demo      open; credential 1 rests for ")
    assert last.endswith("HTTP 401        0               9")
    assert "config last reload ok" in shown
    assert "wrong-key" not in shown
