"""The programs for Node that ``kurolproxy connect`` prints, on every upstream protocol."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kurolproxy.connect.wanted import SHELL
from kurolproxy.ir import ProtocolName
from tests.clients.agents import MODEL
from tests.clients.conftest import UPSTREAMS, Setting
from tests.clients.printed import printed
from tests.clients.scripted import ANSWER
from tests.clients.telling import told


@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_node_programs_print_the_answer(
    upstream: ProtocolName, setting: Setting, record_property: Callable[[str, object], None]
) -> None:
    for name, value in (("client", "Node, as printed"), ("upstream", upstream), ("task", "answer")):
        record_property(name, value)
    stage = await setting(upstream)
    bench, access = stage.bench, stage.access
    # ES modules look for packages upwards of them.
    (bench.work / "node_modules").symlink_to(bench.installed / "node_modules")
    steps = printed("node", access.base_url, MODEL, access.key, in_text=upstream == "gemini")
    programs = [step.where for step in steps.steps if step.where != SHELL]
    ran = await steps.run(bench, *(f"node {each}" for each in programs))
    assert ran.code == 0, told(stage, ran)
    assert ran.out.splitlines() == [ANSWER] * len(programs), told(stage, ran)
    assert ran.err == "", told(stage, ran)
