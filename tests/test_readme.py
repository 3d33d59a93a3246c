"""The README's code, run as it stands: against a demo, and as a configuration that loads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.config.load import parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = BLOCK.findall(README)
ADDRESS = "http://127.0.0.1:8080"
VERBS = [block for kind, block in BLOCKS if kind == "sh" and "users create" in block]
CALLS = [
    (kind, block)
    for kind, block in BLOCKS
    if kind == "python" or (kind == "sh" and block.startswith("curl"))
]
TARGETS = re.findall(r"^make (\w+)$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def demo() -> Iterator[dict[str, Any]]:
    """Run the demo as a stranger would, on any free port."""
    command = [sys.executable, "-m", "kurolproxy", "demo", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("kind", "code"), CALLS, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(CALLS)]
)
def test_sample_answers_with_what_was_asked(kind: str, code: str, demo: dict[str, Any]) -> None:
    code = code.replace(ADDRESS, demo["base_url"])
    command = ["bash", "-euo", "pipefail", "-c", code]
    if kind == "python":
        command = [sys.executable, "-W", "error", "-c", code]
    environment = {**os.environ, "KUROL_API_KEY": demo["key"]}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Hello" in done.stdout
    assert "error" not in done.stdout.lower()


def test_quick_start_is_two_make_targets() -> None:
    assert TARGETS == ["demo", "test"]
    rules = (ROOT / "Makefile").read_text()
    for target in TARGETS:
        assert re.search(rf"^{target}:", rules, re.MULTILINE)


def configuration() -> str:
    (text,) = [block for kind, block in BLOCKS if kind == "toml"]
    return text


def test_configuration_of_the_readme_loads() -> None:
    secrets = {"OPENAI_API_KEY": "sk-a", "ANTHROPIC_API_KEY": "sk-b"}
    config = parse(configuration(), "readme.toml", secrets)
    assert list(config.catalog.models) == ["gpt-4o", "claude-sonnet-4-5", "qwen"]


def test_verbs_of_the_readme_work_on_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "kurolproxy.toml"
    file.write_text(configuration().replace("127.0.0.1:8080", "127.0.0.1:0"))
    (block,) = VERBS
    verbs = [line.split() for line in block.splitlines() if "serve" not in line]
    assert [words[1] for words in verbs] == ["check", "users", "keys"]
    environment = {
        **os.environ,
        "KUROL_CONFIG": str(file),
        "OPENAI_API_KEY": "sk-a",
        "ANTHROPIC_API_KEY": "sk-b",
    }
    said = ""
    for words in verbs:
        command = [sys.executable, "-m", "kurolproxy", *words[1:]]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout
    assert "sk-kurol-" in said
