"""Coding agents at their work, on every upstream protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kurolproxy.ir import ProtocolName
from tests.clients.agents import AGENTS, Agent, task
from tests.clients.conftest import UPSTREAMS, Setting
from tests.clients.scripted import ANSWER, DONE, LINE
from tests.clients.telling import told

EVERY_UPSTREAM = pytest.mark.parametrize("upstream", UPSTREAMS)
EVERY_AGENT = pytest.mark.parametrize(
    "agent", AGENTS, ids=[each.name.lower().replace(" ", "-") for each in AGENTS]
)
# What agents say that were not told about the model.
UNKNOWN = ("Model metadata for", "assumes a context window", "fallback metadata")
Record = Callable[[str, object], None]


@EVERY_UPSTREAM
@EVERY_AGENT
async def test_agent_prints_a_plain_answer(
    agent: Agent, upstream: ProtocolName, setting: Setting, record_property: Record
) -> None:
    for name, value in (("client", agent.name), ("upstream", upstream), ("task", "answer")):
        record_property(name, value)
    stage = await setting(upstream)
    ran = await agent.ask(stage.bench, stage.access, "What is the answer? Use no tool.")
    assert ran.code == 0, told(stage, ran)
    assert ANSWER in ran.out, told(stage, ran)
    for unknown in UNKNOWN:
        assert unknown not in ran.err + ran.out, told(stage, ran)


@EVERY_UPSTREAM
@EVERY_AGENT
async def test_agent_writes_a_file_with_its_own_tool(
    agent: Agent, upstream: ProtocolName, setting: Setting, record_property: Record
) -> None:
    for name, value in (("client", agent.name), ("upstream", upstream), ("task", "file")):
        record_property(name, value)
    stage = await setting(upstream)
    path = stage.script.path
    ran = await agent.ask(stage.bench, stage.access, task(path, LINE), key_in_text=True)
    assert ran.code == 0, told(stage, ran)
    assert path.exists(), told(stage, ran)
    assert path.read_text().strip() == LINE, told(stage, ran)
    assert DONE in ran.out, told(stage, ran)
    assert [result.failed for result in stage.script.results] == [False], told(stage, ran)
