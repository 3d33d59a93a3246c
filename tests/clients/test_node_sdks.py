"""The Node SDKs on every upstream protocol: answers, streams, reasoning, a tool, an error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kurolproxy.ir import ProtocolName
from tests.clients.agents import MODEL, task
from tests.clients.conftest import UPSTREAMS, Setting, Stage
from tests.clients.running import Ran
from tests.clients.scripted import ANSWER, DONE, LINE, THOUGHT
from tests.clients.telling import told

SCRIPTS = Path(__file__).parent / "sdks"


@dataclass(frozen=True, slots=True)
class Sdk:
    """One SDK, and the script that drives it."""

    name: str
    protocol: ProtocolName
    script: str
    arguments: tuple[str, ...] = ()


SDKS = (
    Sdk("openai, chat", "openai-chat", "openai-chat.mjs"),
    Sdk("openai, responses", "openai-responses", "openai-responses.mjs"),
    Sdk("@anthropic-ai/sdk", "anthropic", "anthropic.mjs"),
    Sdk("@google/genai", "gemini", "genai.mjs"),
    Sdk("ai, openai-compatible", "openai-chat", "ai.mjs", ("openai-compatible",)),
    Sdk("ai, openai", "openai-responses", "ai.mjs", ("openai",)),
    Sdk("ai, anthropic", "anthropic", "ai.mjs", ("anthropic",)),
    Sdk("ai, google", "gemini", "ai.mjs", ("google",)),
)


async def run(stage: Stage, sdk: Sdk) -> Ran:
    """Run a script beside the installed packages, which ES modules look for upwards of it."""
    folder = stage.bench.home.parent
    (folder / "node_modules").symlink_to(stage.bench.installed / "node_modules")
    shutil.copytree(SCRIPTS, folder / "sdks")
    env = {
        "KUROL_BASE_URL": stage.access.base_url,
        "KUROL_API_KEY": stage.access.key,
        "KUROL_MODEL": MODEL,
        "KUROL_TASK": task(stage.script.path, LINE),
    }
    return await stage.bench.run("node", str(folder / "sdks" / sdk.script), *sdk.arguments, env=env)


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("sdk", SDKS, ids=[each.name for each in SDKS])
async def test_sdk_answers_streams_reasons_works_and_names_errors(
    sdk: Sdk,
    upstream: ProtocolName,
    setting: Setting,
    record_property: Callable[[str, object], None],
) -> None:
    for name, value in (("client", sdk.name), ("upstream", upstream), ("task", "script")):
        record_property(name, value)
    stage = await setting(upstream)
    ran = await run(stage, sdk)
    assert ran.code == 0, told(stage, ran)
    assert json.loads(ran.out) == {
        "plain": ANSWER,
        "streamed": ANSWER,
        "reasoning": THOUGHT,
        "file": DONE,
        "missing": 404,
    }, told(stage, ran)
    assert stage.script.path.read_text().strip() == LINE, told(stage, ran)
    # Warnings of Node and of the SDKs: there is nothing to warn of.
    assert ran.err == "", told(stage, ran)
