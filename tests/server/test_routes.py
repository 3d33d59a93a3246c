"""The routes beside the calls: models, usage, health, metrics, credentials, logs."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from kurolproxy.policy.health import Health
from tests.conftest import PLANTED_KEY, Running, Starter, new_key, toml
from tests.fakes.answers import SECRET, chat_answer, failure, json_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_limits import message

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"

SUBSET = '\n[[plans]]\nname = "some"\nmodels = ["c-*"]\n'


async def get(
    http: aiohttp.ClientSession, url: str, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.get(url, headers=named) as got:
        low = {name.lower(): value for name, value in got.headers.items()}
        data = await got.read()
        return got.status, json.loads(data) if data else None, low


async def test_models_come_in_three_shapes(gateway: Running, http: aiohttp.ClientSession) -> None:
    url = gateway.base_url + "/v1/models"
    bearer = f"Bearer {gateway.key}"
    _, plain, _ = await get(http, url, authorization=bearer)
    assert plain["object"] == "list"
    assert [each["id"] for each in plain["data"]] == ["c-model", "m-model"]
    assert plain["data"][0]["context_window"] == 200_000
    _, of_claude, _ = await get(http, url, x_api_key=gateway.key, anthropic_version="2023-06-01")
    # Claude Code shows ids that begin with claude: aliases are listed here only.
    assert [each["id"] for each in of_claude["data"]] == ["c-model", "claude-c", "m-model"]
    assert of_claude["has_more"] is False
    for more in ({"x_goog_api_key": gateway.key}, {}):
        query = "" if more else f"?key={gateway.key}"
        _, of_google, _ = await get(http, url + query, **more)
        assert [each["name"] for each in of_google["models"]] == [
            "models/c-model",
            "models/m-model",
        ]
    _, beta, _ = await get(http, gateway.base_url + "/v1beta/models", x_goog_api_key=gateway.key)
    assert beta == of_google


async def test_sdks_list_models(gateway: Running) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.key) as client:
        assert [each.id async for each in client.models.list()] == ["c-model", "m-model"]
        assert (await client.models.retrieve("claude-c")).id == "claude-c"
    async with anthropic.AsyncAnthropic(base_url=gateway.base_url, api_key=gateway.key) as other:
        found = [each.id async for each in other.models.list(limit=1)]
        assert found == ["c-model", "claude-c", "m-model"]
        with pytest.raises(anthropic.NotFoundError):
            await other.models.retrieve("nobody")


async def test_models_are_those_of_the_plan_and_the_key(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, extra=SUBSET))
    url = gateway.base_url + "/v1/models"
    key = await gateway.new_key("some")
    _, listed, _ = await get(http, url, authorization=f"Bearer {key}")
    assert [each["id"] for each in listed["data"]] == ["c-model"]
    narrowed = await new_key(gateway.gateway, "someone@example.org", "default", models=["m-*"])
    _, listed, _ = await get(http, url, authorization=f"Bearer {narrowed}")
    assert [each["id"] for each in listed["data"]] == ["m-model"]
    status, _, _ = await get(http, f"{url}/c-model", authorization=f"Bearer {narrowed}")
    assert status == 404


async def test_usage_tells_where_a_key_stands(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    plan = (
        '\n[[plans]]\nname = "p"\nmodels = ["*"]\nrequests_per_minute = 5\ndaily_tokens = 9_000\n'
    )
    gateway = await start(toml(fake.base_url, extra=plan))
    key = await gateway.new_key("p")
    fake.always(chat_answer(prompt=20, completion=3))
    sent = {"model": "c-model", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}
    bearer = {"authorization": f"Bearer {key}"}
    async with http.post(gateway.base_url + CHAT, json=sent, headers=bearer):
        pass
    status, body, _ = await get(http, gateway.base_url + "/v1/usage", **bearer)
    assert status == 200
    assert body["plan"] == "p"
    daily = body["daily_tokens"]
    assert (daily["limit"], daily["used"], daily["reserved"]) == (9_000, 23, 0)
    assert daily["remaining"] == 8_977
    assert daily["resets_at"].endswith("T00:00:00Z")
    assert body["requests_per_minute"] == {"limit": 5, "remaining": 4}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_needs_no_key(
    path: str, gateway: Running, http: aiohttp.ClientSession
) -> None:
    assert (await get(http, gateway.base_url + path))[:2] == (200, {"status": "ok"})


async def test_draining_gateway_is_alive_and_not_ready(
    gateway: Running, http: aiohttp.ClientSession
) -> None:
    gateway.gateway.state.draining = True
    assert (await get(http, gateway.base_url + "/livez"))[0] == 200
    status, body, _ = await get(http, gateway.base_url + "/readyz")
    assert (status, body["reason"]) == (503, "draining")
    sent = {"model": "c-model", "messages": []}
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with http.post(gateway.base_url + CHAT, json=sent, headers=headers) as got:
        assert got.status == 503
        assert (await got.json())["error"]["code"] == "overloaded"


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "/"), ("HEAD", "/api/hello"), ("GET", "/api/hello")]
)
async def test_probes_of_clients_are_answered(
    method: str, path: str, gateway: Running, http: aiohttp.ClientSession
) -> None:
    async with http.request(method, gateway.base_url + path) as got:
        assert got.status == 200
        assert await got.read() == b""


FORMS = [
    {"authorization": "Bearer {key}"},
    {"authorization": "bearer {key}"},
    {"x-api-key": "{key}"},
    {"x-goog-api-key": "{key}"},
    {"authorization": "Bearer something-else", "x-api-key": "{key}"},
    {"authorization": "Bearer ", "x-api-key": "{key}"},
]


@pytest.mark.parametrize(("path", "model"), [(CHAT, "c-model"), (MESSAGES, "m-model")])
@pytest.mark.parametrize("form", FORMS, ids=[" + ".join(form) for form in FORMS])
async def test_every_form_of_credential_is_taken_on_every_route(
    form: dict[str, str],
    path: str,
    model: str,
    gateway: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    fake.always(chat_answer() if path == CHAT else message())
    headers = {name: value.format(key=gateway.key) for name, value in form.items()}
    sent = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    async with http.post(gateway.base_url + path, json=sent, headers=headers) as got:
        assert got.status == 200
    for name in ("authorization", "x-api-key", "x-goog-api-key"):
        assert gateway.key not in (fake.last.header(name) or "")


WRONG = [
    ("none", []),
    ("unknown", [("authorization", "Bearer sk-kurol-nobody")]),
    ("foreign", [("x-api-key", "sk-ant-something")]),
    ("empty", [("authorization", "Bearer ")]),
]


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/models", "/v1/usage"])
@pytest.mark.parametrize("headers", [w[1] for w in WRONG], ids=[w[0] for w in WRONG])
async def test_wrong_credential_is_a_401_that_nobody_repeats(
    headers: list[tuple[str, str]], path: str, gateway: Running, http: aiohttp.ClientSession
) -> None:
    method = "GET" if path in ("/v1/models", "/v1/usage") else "POST"
    async with http.request(method, gateway.base_url + path, headers=headers) as got:
        assert got.status == 401
        assert got.headers["x-should-retry"] == "false"
        assert "retry-after" not in got.headers
        error = (await got.json())["error"]
    wanted = "authentication_error" if path == MESSAGES else "invalid_request_error"
    assert error["type"] == wanted


async def test_query_key_counts_on_the_gemini_routes_only(
    gateway: Running, http: aiohttp.ClientSession
) -> None:
    for path, status in ((f"{CHAT}", 401), (MESSAGES, 401)):
        async with http.post(f"{gateway.base_url}{path}?key={gateway.key}", json={}) as got:
            assert got.status == status
    assert (await get(http, f"{gateway.base_url}/v1/models?key={gateway.key}"))[0] == 200
    assert (await get(http, f"{gateway.base_url}/v1/usage?key={gateway.key}"))[0] == 401


async def test_same_credential_header_twice_is_a_400(
    gateway: Running, http: aiohttp.ClientSession
) -> None:
    headers = [("authorization", f"Bearer {gateway.key}"), ("authorization", "Bearer other")]
    async with http.post(gateway.base_url + CHAT, json={}, headers=headers) as got:
        assert got.status == 400


async def test_metrics_have_their_own_listener_and_bounded_labels(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer(prompt=20, completion=3))
    headers = {"authorization": f"Bearer {gateway.key}"}
    for name in ("c-model", *(f"made-up-{n}" for n in range(30))):
        sent = {"model": name, "messages": [{"role": "user", "content": "x"}]}
        async with http.post(gateway.base_url + CHAT, json=sent, headers=headers):
            pass
    host, port = gateway.gateway.metrics_address or ("", 0)
    async with http.get(f"http://{host}:{port}/metrics") as got:
        text = await got.text()
    labels = 'model="c-model",outcome="ok",plan="default"'
    assert f'kurol_requests_total{{endpoint="{CHAT}",{labels}}} 1.0' in text
    assert 'kurol_tokens_total{model="c-model",type="prompt"} 20.0' in text
    assert 'kurol_rejections_total{reason="model_not_found"} 30.0' in text
    assert 'kurol_upstream_requests_total{outcome="ok",upstream="chat"} 1.0' in text
    assert "made-up" not in text
    assert gateway.key not in text
    async with http.get(gateway.base_url + "/metrics", headers=headers) as got:
        assert got.status == 404


async def test_metrics_on_the_main_port_want_their_token(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    text = toml(fake.base_url).replace(
        'listen = "127.0.0.1:0"\n\n[[up', 'token = "scrape"\nlisten = ""\n\n[[up'
    )
    gateway = await start(text)
    assert gateway.gateway.metrics_address is None
    for token, status in (("scrape", 200), ("wrong", 401), (gateway.key, 401)):
        headers = {"authorization": f"Bearer {token}"}
        async with http.get(gateway.base_url + "/metrics", headers=headers) as got:
            assert got.status == status


async def test_nothing_secret_is_in_a_log_line_an_error_or_a_metric(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    heard = ""
    words = f"key {PLANTED_KEY} of {fake.base_url}, Bearer abcdefghijk, {SECRET}"
    headers = {"authorization": f"Bearer {gateway.key}", "x-request-id": "id-\u00e9" * 40}
    for status in (400, 401, 403, 404, 413, 422, 429, 500, 529):
        fake.always(failure(status, words))
        for path, model in ((CHAT, "c-model"), (MESSAGES, "c-model"), (CHAT, "m-model")):
            # What was refused before rests no more.
            gateway.gateway.state.health = Health()
            sent = {
                "model": model,
                "max_tokens": 5,
                "messages": [{"role": "user", "content": "top secret prompt"}],
            }
            async with http.post(gateway.base_url + path, json=sent, headers=headers) as got:
                heard += await got.text() + str(got.headers)
    async with http.get(f"{gateway.base_url}/v1/models?key={gateway.key}") as got:
        heard += str(got.headers)
    host, port = gateway.gateway.metrics_address or ("", 0)
    async with http.get(f"http://{host}:{port}/metrics") as got:
        heard += await got.text()
    lines = gateway.lines()
    assert lines.count("\n") == 27
    assert all(json.loads(line)["event"] == "request" for line in lines.splitlines())
    for secret in (gateway.key, PLANTED_KEY, "abcdefghijk", "top secret prompt"):
        assert secret not in heard
        assert secret not in lines
    assert fake.base_url.removeprefix("http://") not in heard


async def test_upstream_headers_stay_with_us_and_ours_with_the_client(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(
        json_answer(
            json.loads(chat_answer().steps[0]),  # type: ignore[arg-type]
            headers={"set-cookie": "a=b", "x-ratelimit-limit-requests": "7", "x-evil": "1"},
        )
    )
    headers = {
        "authorization": f"Bearer {gateway.key}",
        "cookie": "session=1",
        "x-forwarded-for": "1.2.3.4",
        "x-kurol-strict": "0",
        "x-stainless-lang": "python",
        "openai-organization": "org-1",
        "openai-beta": "x=1",
    }
    sent = {"model": "c-model", "messages": [{"role": "user", "content": "x"}]}
    async with http.post(gateway.base_url + CHAT, json=sent, headers=headers) as got:
        low = {name.lower() for name in got.headers}
    assert low == {"x-request-id", "cache-control", "content-type", "content-length"}
    names = {name.lower() for name, _ in fake.last.headers}
    assert names == {
        "host",
        "authorization",
        "content-type",
        "accept",
        "accept-encoding",
        "user-agent",
        "content-length",
        "openai-beta",
    }
    assert fake.last.header("authorization") == f"Bearer {PLANTED_KEY}"
    assert fake.last.header("accept-encoding") == "identity"


async def test_redirects_are_never_followed(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    async with FakeUpstream() as thief:
        for status in (301, 302, 307, 308):
            fake.always(failure(status, "moved", headers={"location": thief.base_url}))
            sent = {"model": "c-model", "messages": [{"role": "user", "content": "x"}]}
            headers = {"authorization": f"Bearer {gateway.key}"}
            async with http.post(gateway.base_url + CHAT, json=sent, headers=headers) as got:
                assert got.status == 502
        assert thief.connections == 0
