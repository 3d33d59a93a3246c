"""The texts for bash, curl and Python are run as they are printed, and get an answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kurolproxy.connect.tools import TOOLS
from kurolproxy.connect.wanted import ModelFacts, Step, Wanted
from kurolproxy.demo.vendor import DemoVendor
from tests.conftest import Running, Starter, behind_demo

_PLAN = """
[[plans]]
name = "default"
models = ["*"]
"""
MODEL = ModelFacts("vendor/demo's $HOME")


@pytest.fixture
async def behind(start: Starter) -> AsyncIterator[Running]:
    """Yield a gateway whose model has a name that wants quotes."""
    vendor = DemoVendor(api_key="vendor-key")
    await vendor.start()
    yield await start(behind_demo(vendor.base_url, {MODEL.id: "demo-echo"}, _PLAN))
    await vendor.stop()


async def run(folder: Path, key: str | None, *command: str) -> str:
    """Run a program in a folder; return what it printed."""
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(folder)}
    if key is not None:
        environment["KUROL_API_KEY"] = key
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


def program_steps(tool: str, running: Running, key: str | None) -> list[Step]:
    wanted = Wanted(running.base_url, MODEL, MODEL, key)
    return [step for step in TOOLS[tool].steps(wanted) if step.title != "Install"]


@pytest.mark.parametrize("with_key", [True, False], ids=["key", "variable"])
async def test_curl_answers_in_every_protocol(
    behind: Running, tmp_path: Path, with_key: bool
) -> None:
    steps = program_steps("curl", behind, behind.key if with_key else None)
    texts = [step.text.replace("curl ", "curl --silent --fail ", 1) for step in steps]
    key = None if with_key else behind.key
    answers = await asyncio.gather(*(run(tmp_path, key, "bash", "-c", each) for each in texts))
    ends = ("[DONE]", "response.completed", "message_stop", '"finishReason"')
    for answer, end in zip(answers, ends, strict=True):
        assert "hello" in answer
        assert end in answer
        # Events, no array that ends at once.
        assert answer.startswith(("data: ", "event: "))


async def test_python_programs_print_the_answer(behind: Running, tmp_path: Path) -> None:
    # That a key in the text is the same text is seen in the golden files.
    steps = program_steps("python", behind, None)
    for step in steps:
        (tmp_path / step.where).write_text(step.text + "\n")
    answers = await asyncio.gather(
        *(run(tmp_path, behind.key, sys.executable, step.where) for step in steps)
    )
    assert ["hello" in each for each in answers] == [True] * 3
