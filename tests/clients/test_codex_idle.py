"""Codex and the long silence of a model that thinks without a word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kurolproxy.demo.reply import Thought
from kurolproxy.ir import ProtocolName
from tests.clients.agents import Errand, run_codex
from tests.clients.conftest import UPSTREAMS, Setting
from tests.clients.telling import told

IDLE_MS = 2_500
SILENCE_S = 8.0


@pytest.mark.parametrize("redacted", [False, True], ids=["after words", "before any word"])
@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_codex_lives_through_a_silence_longer_than_its_idle_limit(
    upstream: ProtocolName,
    redacted: bool,
    setting: Setting,
    record_property: Callable[[str, object], None],
) -> None:
    task = "silence before words" if redacted else "silence after words"
    for name, value in (("client", "Codex"), ("upstream", upstream), ("task", task)):
        record_property(name, value)
    stage = await setting(upstream, silence_s=SILENCE_S, keepalive_s=1.0)
    # One portion each: a pause after the thought, none inside it.
    stage.script.thought = Thought("Hm.", redacted)
    stage.script.answer = "Forty-two."
    errand = Errand(stage.bench, stage.access, "What is the answer? Use no tool.", "gpt-5.5")
    ran = await run_codex(errand, idle_timeout_ms=IDLE_MS)
    assert ran.code == 0, told(stage, ran)
    assert "Forty-two." in ran.out, told(stage, ran)
    assert len(stage.script.asks) == 1, told(stage, ran)
