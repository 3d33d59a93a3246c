"""``doctor --call``, its connections, ``models test``: each way to fail has its remedy."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from kurolproxy.cli.checks import Finding
from kurolproxy.cli.checks_upstreams import calls, upstreams
from kurolproxy.cli.doctor import patient_of
from kurolproxy.cli.trial import MAX_OUTPUT_TOKENS
from kurolproxy.demo.vendor import DemoVendor
from tests.cli.sites import COMMAND, Site, finish
from tests.fakes.answers import refusing_url
from tests.fakes.raw import READ, RESET, RawStep, RawUpstream, http
from tests.fakes.upstream import FakeUpstream

KEY = "sk-vendor-0123456789abcdef"
_TEXT = """
[server]
listen = "127.0.0.1:0"
state_dir = "state"

[timeouts]
connect_timeout_s = 0.5
answer_timeout_s = 0.5

[[upstreams]]
name = "lab"
base_url = "{url}"
protocols = ["{protocol}"]
api_keys = ["{key}"]
{more}

[[models]]
id = "m-1"
targets = [{{ upstream = "lab", model = "inner" }}, {{ upstream = "lab", model = "other" }}]

[[plans]]
name = "team"
models = ["*"]
"""


def write(site: Site, url: str, *, protocol: str = "openai-chat", more: str = "") -> None:
    site.write(_TEXT.format(url=url, protocol=protocol, key=KEY, more=more))


async def found(site: Site, *, call: bool) -> list[Finding]:
    """Return what the check finds; it runs a loop of its own."""

    def look() -> list[Finding]:
        patient = patient_of(site.config)
        if not call:
            return list(upstreams(patient))
        return list(calls(replace(patient, call=True)))

    return await asyncio.to_thread(look)


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """Return the address of a server that takes connections and says nothing."""
    open_: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: open_.append(writer), "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for writer in open_:
        writer.close()
    server.close()


# --- connections ----------------------------------------------------------------------


async def test_upstream_that_takes_connections_is_well(site: Site, silent: str) -> None:
    write(site, f"http://{silent}")
    [finding] = await found(site, call=False)
    assert finding.level == "ok"
    assert finding.found.startswith("lab takes connections (")


CONNECTIONS = [
    ("http://nowhere.invalid", "", "could not be resolved", "Correct the host in `base_url`"),
    ("refused", "", "could not be reached", "whether the server runs"),
    ("https://SILENT", "", "could not be reached in time", "a firewall that drops"),
    ("https://PLAIN", "", "TLS connection to the upstream failed", "scheme and port"),
    ("http://SILENT", 'proxy = "http://nowhere.invalid:1"', "its proxy: The", "host in `proxy`"),
]


@pytest.mark.parametrize(("url", "more", "problem", "remedy"), CONNECTIONS)
async def test_connection_that_fails_has_its_remedy(
    site: Site, silent: str, url: str, more: str, problem: str, remedy: str
) -> None:
    async with RawUpstream([http(status="400 Bad Request")]) as plain:
        url = refusing_url() if url == "refused" else url
        url = url.replace("SILENT", silent).replace("PLAIN", plain.base_url[len("http://") :])
        write(site, url, more=more)
        [finding] = await found(site, call=False)
    assert finding.level == "error"
    assert problem in finding.found
    assert remedy in finding.remedy
    assert KEY not in str(finding)


async def test_no_upstream_is_told(site: Site) -> None:
    site.write('[server]\nstate_dir = "state"\n')
    [finding] = await found(site, call=False)
    assert (finding.level, finding.remedy) == ("warning", "Add an [[upstreams]] table.")


# --- calls ----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["openai-chat", "openai-responses", "anthropic", "gemini"])
async def test_each_protocol_answers_a_tiny_call(site: Site, protocol: str) -> None:
    vendor = DemoVendor(api_key=KEY)
    await vendor.start()
    try:
        write(site, vendor.base_url, protocol=protocol)
        text = site.config.read_text().replace('"inner"', '"demo-echo"')
        site.config.write_text(text)
        [finding] = await found(site, call=True)
    finally:
        await vendor.stop()
    assert finding.level == "ok", finding
    assert finding.found.startswith(f"lab/demo-echo, credential 1, {protocol} (")


CAPS = [
    ("openai-chat", "/v1/chat/completions", ("max_tokens",)),
    ("openai-responses", "/v1/responses", ("max_output_tokens",)),
    ("anthropic", "/v1/messages", ("max_tokens",)),
    (
        "gemini",
        "/v1beta/models/inner:generateContent",
        ("generationConfig", "maxOutputTokens"),
    ),
]


@pytest.mark.parametrize(("protocol", "path", "cap"), CAPS)
async def test_call_is_tiny_and_not_streamed(
    site: Site, protocol: str, path: str, cap: tuple[str, ...]
) -> None:
    async with FakeUpstream() as fake:
        write(site, fake.base_url, protocol=protocol)
        await found(site, call=True)
        seen = fake.last
    assert seen.path == path
    value: Any = seen.json
    for name in cap:
        value = value[name]
    assert value == MAX_OUTPUT_TOKENS == 16
    assert not seen.json.get("stream")
    assert len(seen.body) < 300


def error(status: str, message: str = "") -> bytes:
    body = json.dumps({"error": {"message": message}}).encode() if message else b"<html>no</html>"
    return http(body, status=status)


# name, what the upstream does, status in the text, the remedy
CALLS: list[tuple[str, Sequence[RawStep], str, str]] = [
    ("key", [READ, error("401 No", f"Incorrect key {KEY}")], "HTTP 401: Incorrect", "`api_keys`"),
    ("bill", [READ, error("402 No", "no credit")], "HTTP 402", "Pay the vendor's bill"),
    ("leave", [READ, error("403 No", "not yours")], "HTTP 403", "Give the credential leave"),
    ("model", [READ, error("404 No", "The model `inner` does not exist")], "HTTP 404", "`model`"),
    ("path", [READ, error("404 No")], "404 for /v1/chat/completions", "`base_url` or `paths`"),
    ("method", [READ, error("405 No")], "HTTP 405 for /v1/chat/comp", "`base_url` or `paths`"),
    ("redirect", [READ, error("302 There")], "HTTP 302: it redirects", "redirects to"),
    ("request", [READ, error("400 No", "bad flag")], "HTTP 400: bad flag", "`model` or one of its"),
    ("limit", [READ, error("429 No", "too many")], "HTTP 429: too many", "credential works"),
    ("failing", [READ, error("500 No", "oh")], "HTTP 500: oh", "its status page"),
    ("overloaded", [READ, error("529 No", "busy")], "HTTP 529: busy", "overloaded"),
    ("page", [READ, http(b"<html>hi</html>")], "but not with this protocol", "`base_url`"),
    ("silence", [READ, 5.0], "no answer within 0.5 s", "Look at the server"),
    ("close", [READ], "closed the connection without an answer", "the server's log"),
    ("reset", [READ, RESET], "closed the connection without an answer", "the server's log"),
    ("no http", [READ, b"220 mail ready\r\n\r\n"], "not valid HTTP", "no HTTP is spoken there"),
]


@pytest.mark.parametrize(
    ("steps", "problem", "remedy"), [each[1:] for each in CALLS], ids=[each[0] for each in CALLS]
)
async def test_call_that_fails_has_its_remedy(
    site: Site, steps: Sequence[RawStep], problem: str, remedy: str
) -> None:
    async with RawUpstream(steps) as raw:
        write(site, raw.base_url)
        [finding] = await found(site, call=True)
    assert finding.level == "error"
    assert problem in finding.found
    assert remedy in finding.remedy
    assert KEY not in str(finding)
    assert "127.0.0.1" not in finding.found


async def test_key_that_gemini_refuses_with_a_400_is_a_wrong_key(site: Site) -> None:
    body = {
        "error": {
            "code": 400,
            "message": "API key not valid. Please pass a valid API key.",
            "status": "INVALID_ARGUMENT",
            "details": [{"reason": "API_KEY_INVALID"}],
        }
    }
    answer = http(json.dumps(body).encode(), status="400 Bad Request")
    async with RawUpstream([READ, answer]) as raw:
        write(site, raw.base_url, protocol="gemini")
        [finding] = await found(site, call=True)
    assert finding.found.split(": ")[1] == "HTTP 400"
    assert "Replace this credential" in finding.remedy


async def test_each_credential_is_called_with_the_first_target_only(site: Site) -> None:
    async with FakeUpstream() as fake:
        write(site, fake.base_url)
        text = site.config.read_text().replace(f'["{KEY}"]', f'["{KEY}", "another-key"]')
        site.config.write_text(text)
        findings = await found(site, call=True)
        seen = await fake.received(2)
    assert len(findings) == 2
    assert {each.model for each in seen} == {"inner"}
    keys = {each.header("authorization") for each in seen}
    assert keys == {f"Bearer {KEY}", "Bearer another-key"}


async def test_upstream_without_a_target_is_told(site: Site, silent: str) -> None:
    site.write(f"""
        [[upstreams]]
        name = "lab"
        base_url = "http://{silent}"
        protocols = ["anthropic"]
        """)
    [finding] = await found(site, call=True)
    assert (finding.level, finding.found) == ("warning", "lab: no model has a target there")
    assert "Add a [[models]] table" in finding.remedy


async def test_credentials_that_only_the_service_has_are_not_called(site: Site) -> None:
    os.environ.pop("VENDOR_KEY", None)
    [finding] = await found(site, call=True)
    assert finding.level == "warning"
    assert "the variables and credentials that the service is given" in finding.remedy


# --- models test ----------------------------------------------------------------------


async def models_test(site: Site, *args: str) -> tuple[int, str, str]:
    return await finish(
        *COMMAND, "--config", str(site.config), "models", "test", *args, VENDOR_KEY="vendor-key"
    )


async def test_each_way_to_a_model_is_tried(living: Site) -> None:
    code, out, err = await models_test(living, "echo", "--json")
    assert (code, err) == (0, "")
    [row] = json.loads(out)
    assert row.pop("ms") >= 0
    assert row == {
        "upstream": "demo",
        "model": "demo-echo",
        "credential": 1,
        "protocol": "openai-chat",
        "status": 200,
        "problem": "",
        "remedy": "",
        "result": "answers",
    }


async def test_way_that_fails_is_told_with_its_remedy(site: Site) -> None:
    async with RawUpstream([READ, error("401 No", f"Incorrect key {KEY}")]) as raw:
        write(site, raw.base_url)
        code, out, err = await models_test(site, "m-1")
    assert code == 1
    assert out.count("HTTP 401") == 2
    assert "lab/inner: HTTP 401: Incorrect key *** Replace this credential" in err
    assert "2 of 2 ways to m-1 fail" in err
    assert KEY not in out + err


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [("nothing", "", "there is no model 'nothing'"), ("m-1", "[nonsense", "cannot be used")],
)
async def test_what_cannot_be_tried_is_said(site: Site, name: str, change: str, text: str) -> None:
    write(site, "http://127.0.0.1:1")
    site.config.write_text(site.config.read_text() + change)
    code, _, err = await models_test(site, name)
    assert code == 1
    assert text in err
