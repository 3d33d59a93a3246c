"""``/docs``: whole, readable without login, and its programs run."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import html
import io
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from kurolproxy.dashboard.examples import MODEL, Example, examples_at
from kurolproxy.dashboard.pages.reference import kind_of, pieces
from kurolproxy.server.openapi import document
from tests.conftest import Running, Starter, toml
from tests.dashboard.conftest import Browser, Page
from tests.fakes.answers import Answer, chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.managing import manager_of

LIMIT_S = 60.0
DOCUMENT = document(public_url="", version="1")
Anonymous = Callable[[Running], Browser]


async def docs(running: Running, anonymous: Anonymous, **headers: str) -> Page:
    page = await anonymous(running).get("/docs", **headers)
    assert page.status == 200
    return page


async def test_reference_has_every_operation_error_and_structure(
    gateway: Running, anonymous: Anonymous
) -> None:
    text = (await docs(gateway, anonymous)).text
    for path, methods in DOCUMENT["paths"].items():
        assert f"<code>{path}</code>" in text
        for operation in methods.values():
            assert f'id="op-{operation["operationId"]}"' in text
    for name in DOCUMENT["components"]["schemas"]:
        assert f'id="is-{name}"' in text
    for error in DOCUMENT["x-kurol-errors"]:
        assert f"<code>{error['kind']}</code>" in text
    for name in ("x-request-id", "retry-after", "x-kurol-dropped", "x-kurol-strict"):
        assert name in text


async def test_links_inside_lead_somewhere_and_none_leads_outside(
    gateway: Running, anonymous: Anonymous
) -> None:
    text = (await docs(gateway, anonymous)).text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    targets = re.findall(r'\b(?:href|src)="([^"]+)"', text)
    assert {each for each in targets if each.startswith("#")} <= {f"#{each}" for each in ids}
    assert [each for each in targets if not each.startswith(("#", "/"))] == []


async def test_reference_tells_no_model_and_no_plan_of_the_installation(
    gateway: Running, anonymous: Anonymous
) -> None:
    text = (await docs(gateway, anonymous)).text
    assert [each for each in ("c-model", "m-model", "claude-c", gateway.key) if each in text] == []


@pytest.mark.parametrize(
    "lines",
    [
        'public_url = "https://llm.example.org"',
        'public_url = "http://llm.example.org"',
        'public_url = "https://llm.example.org"\n[dashboard]\nenabled = false',
    ],
    ids=["https", "plain http", "no dashboard"],
)
async def test_reference_has_the_operators_url_whatever_host_was_asked(
    lines: str, start: Starter, fake: FakeUpstream, anonymous: Anonymous
) -> None:
    running = await start(toml(fake.base_url, server=lines))
    text = (await docs(running, anonymous, host="evil.example.net")).text
    assert "://llm.example.org/v1/chat/completions" in html.unescape(text)
    assert "evil.example.net" not in text
    assert running.base_url not in text


async def test_hostile_contact_is_a_text(
    start: Starter, fake: FakeUpstream, anonymous: Anonymous
) -> None:
    contact = "javascript:alert(1)//<script>"
    text = toml(fake.base_url).replace("ops@example.org", contact)
    page = await docs(await start(text), anonymous)
    assert "&lt;script&gt;" in page.text
    assert 'href="javascript' not in page.text


async def test_other_methods_and_paths_are_refused(
    gateway: Running, http: aiohttp.ClientSession
) -> None:
    for method, path, status in [("POST", "/docs", 405), ("GET", "/docs/x", 404)]:
        async with http.request(method, gateway.base_url + path) as got:
            assert got.status == status


# --- the programs -------------------------------------------------------------------------

NOWHERE = "http://127.0.0.1:1"
PROGRAMS = [(title, each) for title, programs in examples_at(NOWHERE) for each in programs]
TITLES = [*dict(examples_at(NOWHERE))]
NAMES = [f"{title} {each.language}" for title, each in PROGRAMS]


def text_of(title: str, language: str, base_url: str = NOWHERE) -> str:
    programs = dict(examples_at(base_url))[title]
    return next(each.text for each in programs if each.language == language)


@pytest.mark.parametrize(("title", "example"), PROGRAMS, ids=NAMES)
def test_program_calls_this_installation_and_names_no_key(title: str, example: Example) -> None:
    assert NOWHERE in example.text
    assert "BASE_URL" not in example.text
    assert "sk-kurol" not in example.text
    assert ("KUROL_ADMIN_KEY" if title == "Management" else "KUROL_API_KEY") in example.text
    if example.language == "Python":
        ast.parse(example.text)


def test_each_is_there_in_three_languages() -> None:
    assert TITLES == ["Chat Completions", "Responses", "Messages", "Gemini", "Management"]
    languages = [[each.language for each in found] for _, found in examples_at(NOWHERE)]
    assert languages == [["curl", "Python", "Node"]] * 5


async def ran(running: Running, admin_key: str, *command: str) -> str:
    """Run a program to its end; return what it prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "KUROL_API_KEY": running.key,
        "KUROL_ADMIN_KEY": admin_key,
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 0, err.decode()
    return out.decode()


def said(fake: FakeUpstream) -> None:
    answer: Answer = chat_answer()
    fake.always(answer)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("title", TITLES)
async def test_curl_lines_work_as_they_are_shown(
    title: str, gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    said(fake)
    root = await manager_of(gateway, http)
    text = text_of(title, "curl", gateway.base_url)
    text = text.replace(MODEL, "c-model").replace("PLAN", "default")
    text = text.replace("curl ", "curl --silent --show-error --fail ")
    out = await ran(gateway, root.key, "sh", "-ec", text)
    assert {
        "Chat Completions": "chat.completion",
        "Responses": '"output"',
        "Messages": '"message"',
        "Gemini": "candidates",
        "Management": "account_id,account,requests",
    }[title] in out


def printed(program: str) -> str:
    """Run a Python program here; return what it prints. To load an SDK anew takes seconds."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(program, "example", "exec"), {})
    return out.getvalue().strip()


@pytest.mark.parametrize("title", TITLES)
async def test_python_programs_work_as_they_are_shown(
    title: str,
    gateway: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said(fake)
    root = await manager_of(gateway, http)
    monkeypatch.setenv("KUROL_API_KEY", gateway.key)
    monkeypatch.setenv("KUROL_ADMIN_KEY", root.key)
    bearer = {"authorization": f"Bearer {gateway.key}"}
    asked = {"model": "c-model", "messages": [{"role": "user", "content": "x"}]}
    url = f"{gateway.base_url}/v1/chat/completions"
    async with http.post(url, json=asked, headers=bearer) as got:
        expected = (await got.json())["choices"][0]["message"]["content"]
    program = text_of(title, "Python", gateway.base_url).replace(MODEL, "c-model")
    out = await asyncio.to_thread(printed, program)
    assert out == ("someone@example.org 1 2" if title == "Management" else expected)


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
async def test_node_programs_are_javascript(gateway: Running, tmp_path: Path) -> None:
    for title in TITLES:
        program = tmp_path / f"{title}.mjs"
        program.write_text(text_of(title, "Node"))
        await ran(gateway, "", "node", "--check", str(program))


# --- words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": "integer", "minimum": 1}, "integer from 1"),
        ({"type": "integer", "minimum": 1, "maximum": 9}, "integer, 1 to 9"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer | null"),
        ({"enum": ["user", "admin"]}, '"user" | "admin"'),
        ({"const": "ok"}, '"ok"'),
        ({"type": "array", "items": {"type": "string"}}, "array of string"),
        ({"$ref": "#/components/schemas/Key"}, "Key"),
    ],
)
def test_type_is_put_into_words(schema: dict[str, object], text: str) -> None:
    assert kind_of(schema).text == text


def test_structure_in_a_list_is_named() -> None:
    schema = {"type": "array", "items": {"$ref": "#/components/schemas/Key"}}
    assert (kind_of(schema).text, kind_of(schema).name) == ("array of Key", "Key")


def test_text_is_cut_at_its_backticks() -> None:
    assert pieces("a `b` c") == [(False, "a "), (True, "b"), (False, " c")]
