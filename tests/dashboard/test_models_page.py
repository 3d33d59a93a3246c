"""Models of my plan: which, what they take and cost, and texts that really call them."""

from __future__ import annotations

import ast
import asyncio
import html
import json
import os
import re
import shlex
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kurolproxy.connect.calls import ENDPOINTS, Call, in_bash, in_powershell
from kurolproxy.connect.programs import in_python
from kurolproxy.dashboard.rendering import dollars
from tests.conftest import Running, Starter, toml
from tests.dashboard.conftest import LogIn, Page
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream

HOSTILE = ["<img src=x onerror=alert(1)>", '\\"><script>alert(1)</script>', "javascript:alert(1)"]
MORE = """
[[models]]
id = "priced"
aliases = ["cheap"]
targets = [{ upstream = "chat", model = "plain", efforts = ["low", "high"] }]
context_window = 128_000
max_output_tokens = 16_384
price = { prompt = 2.5, completion = 10, cache_read = 0.125 }

[[models]]
id = "hidden-one"
active = false
targets = [{ upstream = "chat" }]

[[models]]
id = "other-plan"
targets = [{ upstream = "chat" }]

[[plans]]
name = "small"
models = ["priced", "c-*", "hidden-*"]
max_output_tokens = 8_192
"""


@pytest.fixture
async def priced(fake: FakeUpstream, start: Starter) -> Running:
    """Return a gateway with a model that has a price, and a plan of some models."""
    return await start(toml(fake.base_url, extra=MORE))


def row_of(page: Page, model: str) -> str:
    """Return the text of a model's row."""
    found = re.search(rf'<tr data-names="{re.escape(model)}[ "].*?</tr>', page.text, re.DOTALL)
    assert found is not None, page.text
    # The spaces within numbers are thin ones, and stay.
    return re.sub("[ \n]+", " ", html.unescape(re.sub(r"<[^>]*>", " ", found[0]))).strip()


def text_of(page: Page, number: int) -> str:
    """Return the text beside a copy button: 1 bash, 2 PowerShell, 3 Python."""
    found = re.search(rf'<pre id="text-{number}"[^>]*>(.*?)</pre>', page.text, re.DOTALL)
    assert found is not None, page.text
    return html.unescape(found[1])


async def test_models_of_the_plan_are_told_with_what_they_take_and_cost(
    priced: Running, log_in: LogIn
) -> None:
    page = await (await log_in(priced, plan="small")).get("/dashboard/models")
    assert page.status == 200
    assert row_of(page, "priced").startswith(
        "priced cheap 128\u2009000 8\u2009192 2.50 10.00 0.125 yes Chat Completions Try it"
    )
    assert row_of(page, "c-model").startswith("c-model claude-c 200\u2009000 8\u2009192 – – – –")
    for absent in ("other-plan", "hidden-one", "m-model"):
        assert absent not in page.text
    assert 'href="/dashboard/playground?model=priced"' in page.text
    assert 'href="/dashboard/connect?model=priced"' in page.text


SEARCHES = [
    ("cheap", ["priced"]),
    ("CLAUDE c-", ["c-model"]),
    ("zzz", []),
    ("", ["c-model", "priced"]),
]


@pytest.mark.parametrize(("words", "found"), SEARCHES)
async def test_models_are_searched_by_id_and_alias_without_scripts(
    priced: Running, log_in: LogIn, words: str, found: list[str]
) -> None:
    browser = await log_in(priced, plan="small")
    page = await browser.get(f"/dashboard/models?q={words.replace(' ', '+')}")
    listed = re.findall(r'<tr data-names="([^ "]+)', page.text)
    assert listed == found


@pytest.mark.parametrize("name", ["other-plan", "hidden-one", "no-such", "PRICED", "priced "])
async def test_model_outside_of_the_plan_is_as_unknown_as_none(
    priced: Running, log_in: LogIn, name: str
) -> None:
    browser = await log_in(priced, plan="small")
    page = await browser.get(f"/dashboard/models?model={name}")
    assert page.status == 404


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_command_for_bash_gets_an_answer(
    fake: FakeUpstream, gateway: Running, log_in: LogIn, endpoint: str
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    page = await browser.get(f"/dashboard/models?model=claude-c&endpoint={endpoint}")
    # An alias leads to its model.
    assert 'id="chosen" class="mono">c-model<' in page.text
    answer = await run("bash", "-c", text_of(page, 1), key=gateway.key)
    assert {"choices", "output", "content", "candidates"} & set(json.loads(answer)), answer
    assert len(fake.requests) == 1


async def test_program_in_python_gets_an_answer(
    fake: FakeUpstream, gateway: Running, log_in: LogIn
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    page = await browser.get("/dashboard/models?model=c-model&endpoint=openai-responses")
    assert (await run(sys.executable, "-c", text_of(page, 3), key=gateway.key)).strip()
    assert len(fake.requests) == 1


async def run(*command: str, key: str) -> str:
    """Run a command with a key in the environment; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "KUROL_API_KEY": key},
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(model=TEXTS, name=st.sampled_from(sorted(ENDPOINTS)), key=st.none() | KEYS)
def test_no_name_breaks_out_of_its_quotes(model: str, name: str, key: str | None) -> None:
    call = Call("http://127.0.0.1:1", model, ENDPOINTS[name], key)
    words = shlex.split(in_bash(call).replace("\\\n", ""))
    # Nothing became a word of its own.
    assert (words[0], words[2], words.count("-H"), words[-2]) == (
        "curl",
        call.url(),
        2 + len(call.endpoint.headers),
        "-d",
    )
    assert json.loads(words[-1]) == json.loads(call.body())
    assert call.body().isascii()
    shell = in_powershell(call)
    plain = re.sub(
        r"'(?:[^'\u2018\u2019\u201a\u201b]|''|\u2018\u2018|\u2019\u2019|\u201a\u201a|\u201b\u201b)*'",
        "",
        shell,
    )
    assert plain.count("'") == 0
    strings = [
        each.value
        for each in ast.walk(ast.parse(in_python(call)))
        if isinstance(each, ast.Constant)
    ]
    assert model in strings
    assert key is None or key in strings


async def test_hostile_model_is_text(fake: FakeUpstream, start: Starter, log_in: LogIn) -> None:
    models = "".join(
        f'[[models]]\nid = "{each}"\ntargets = [{{ upstream = "chat", model = "plain" }}]\n'
        for each in HOSTILE
    )
    running = await start(toml(fake.base_url, extra=models))
    browser = await log_in(running)
    for each in HOSTILE:
        name = each.replace("\\", "")
        page = await browser.get(f"/dashboard/models?model={name.replace('#', '%23')}")
        assert page.status == 200
        assert html.escape(name).replace("&quot;", "&#34;") in page.text
        assert "<img src=x" not in page.text
        assert "<script>" not in page.text
        assert 'href="javascript' not in page.text


async def test_account_whose_plan_is_gone_is_told(gateway: Running, log_in: LogIn) -> None:
    page = await (await log_in(gateway, plan="gone")).get("/dashboard/models")
    assert "Your plan is not in the configuration any more" in page.text


AMOUNTS = [
    (None, "–"),
    (0.0, "0.00"),
    (0.1 + 0.2, "0.30"),
    (0.005, "0.005"),
    (0.125, "0.125"),
    (0.00001, "<0.0001"),
    (12.345678, "12.35"),
    (1_234_567.8, "1\u2009234\u2009567.80"),
]


@pytest.mark.parametrize(("value", "written"), AMOUNTS)
def test_dollars_are_written_to_the_cent_and_small_ones_exactly(
    value: float | None, written: str
) -> None:
    assert dollars(value) == written
