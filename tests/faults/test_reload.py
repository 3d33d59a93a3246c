"""SIGHUP and ``reload``: another configuration under open streams, or none at all."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from kurolproxy.cli.control import ControlClient
from tests.faults.books import Books
from tests.faults.conftest import Tell
from tests.faults.leaving import STREAMS, Streams, gone, plain, told_to
from tests.faults.serving import MAIL, PASSED, Installation, Serving, long_form
from tests.faults.vendor import QuickVendor, stalled

NEW = """
[[models]]
id = "brand-new"
targets = [{ upstream = "chat", model = "quick" }]
"""


def rewrite(site: Installation, old: str, new: str) -> None:
    """Change the configuration."""
    text = site.config.read_text()
    assert old in text
    site.config.write_text(text.replace(old, new))


async def reloaded(site: Installation) -> Any:
    """Ask for a reload over the control socket."""

    def ask() -> Any:
        client = ControlClient.connect(site.state_dir)
        assert client is not None
        with client:
            return client.call("reload", {})

    return await asyncio.to_thread(ask)


async def successful(served: Serving) -> float:
    """Return what the metric says of the last reload."""
    return (await served.metrics())["kurol_config_last_reload_successful"]


async def test_open_streams_go_on_and_new_requests_see_the_new_models(
    site: Installation, vendor: QuickVendor, tell: Tell
) -> None:
    vendor.scripts["paced"] = stalled(1.5)
    async with site.serving() as served:
        first = await served.call()
        streams = await Streams.open(served)
        rewrite(site, 'id = "slow"', 'id = "slower"')
        rewrite(site, 'id = "passed"', 'id = "gone"')
        site.config.write_text(site.config.read_text() + NEW)
        took_s = await told_to(served, signal.SIGHUP, "reloaded")
        in_flight = (await served.metrics())["kurol_streams_in_flight"]
        new = await served.call(plain("brand-new"))
        old = await served.call(plain(PASSED))
        calls = await streams.ended()
        assert await served.stop() == 0
    assert in_flight == STREAMS
    assert [each.ok for each in calls] == [True] * STREAMS
    assert (new.ok, old.status) == (True, 404)
    books = Books.open(site.database)
    books.check()
    assert books.lost([first, new, *calls]) == []
    assert len(books.rows) == STREAMS + 2
    tell(f"reload under {STREAMS} streams: {took_s * 1000:.0f} ms until it was told")


async def test_broken_file_changes_nothing_and_is_told(site: Installation) -> None:
    async with site.serving() as served:
        good = site.config.read_text()
        site.config.write_text(good + "\n[[models]\n")
        await told_to(served, signal.SIGHUP, "reload_refused")
        (refused,) = [each for each in served.events() if each["event"] == "reload_refused"]
        before = await successful(served)
        answered = await served.call()
        said = await reloaded(site)
        site.config.write_text(good)
        await told_to(served, signal.SIGHUP, "reloaded")
        after = await successful(served)
    line = good.count("\n") + 2
    assert refused["problems"][0].startswith(f"{site.config}:{line}:")
    assert "not valid TOML" in refused["problems"][0]
    assert (said["ok"], said["problems"]) == (False, refused["problems"])
    assert (before, answered.ok, after) == (0, True, 1)


async def test_file_without_the_plan_of_active_accounts_is_refused(site: Installation) -> None:
    # One without any key, too; an account that is disabled does not count.
    for each in ("bob", "cy"):
        await asyncio.to_thread(site.account, f"{each}@example.org")
    await asyncio.to_thread(site.json, "users", "disable", "cy@example.org")
    async with site.serving() as served:
        rewrite(site, 'name = "team"', 'name = "crew"')
        said = await reloaded(site)
        answered = await served.call()
        metric = await successful(served)
    (problem,) = said["problems"]
    assert "the plan 'team' is missing" in problem
    assert "active accounts have it: 2" in problem
    assert (said["ok"], answered.ok, metric) == (False, True, 0)


async def test_plan_of_the_new_file_is_there_for_people(site: Installation) -> None:
    async with site.serving() as served:
        rewrite(site, "[[plans]]", '[[plans]]\nname = "none"\nmodels = ["translated"]\n[[plans]]')
        said = await reloaded(site)
        code, _, err = await site.verb("users", "set-plan", MAIL, "none")
        answered = await served.call()
    assert (said["ok"], said["models"], code, err) == (True, 3, 0, "")
    assert answered.status == 403


async def test_what_needs_a_restart_is_named_until_there_was_one(site: Installation) -> None:
    async with site.serving() as served:
        rewrite(site, "[ledger]", '[ledger]\ndurability = "strict"\ndetail_days = 7')
        rewrite(site, 'requests = "none"', 'requests = "all"\nformat = "text"')
        said = [await reloaded(site), await reloaded(site)]
        await served.call()
        assert await served.stop() == 0
    for each in said:
        assert each["needs_restart"] == ["ledger.durability", "ledger.detail_days", "log.format"]
    # What needs none is in use: the lines of requests, in the form of the start.
    assert [each["status"] for each in served.events() if each["event"] == "request"] == [200]


@pytest.mark.skipif(not long_form(), reason="a moment of the drain that few meet")
async def test_hang_up_while_it_leaves_keeps_nobody(
    site: Installation, vendor: QuickVendor
) -> None:
    vendor.scripts["paced"] = stalled(0.5)
    async with site.serving() as served:
        streams = await Streams.open(served, 4)
        await told_to(served, signal.SIGTERM, "stopping")
        served.process.send_signal(signal.SIGHUP)
        calls = await streams.ended()
        code, _ = await gone(served)
    assert (code, [each.ok for each in calls]) == (0, [True] * 4)
    with closing(sqlite3.connect(site.database)) as db:
        assert db.execute("SELECT count(*) FROM usage").fetchone() == (4,)
