"""docs/errors.md has every kind of error, as it goes out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kurolproxy import errors
from kurolproxy.protocols.registry import CODECS
from kurolproxy.server.headers import error_headers
from tests.test_errors import classes

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
# Written before the route is known: no codec writes them.
EARLY = {"misdirected", "headers_too_large"}


def tables() -> dict[str, list[list[str]]]:
    """Return the rows whose first cell is a kind, by their heading."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:]
        cells = [each.strip() for each in line.strip("|").split(" | ")]
        if line.startswith("| `") and heading:
            found.setdefault(heading, []).append([each.replace("`", "").strip() for each in cells])
    return found


KINDS = {row[0]: row[1:] for row in tables()["Kinds"]}
ADVICE = {row[0]: row[1:] for row in tables()["What they say, and what to do"]}
CLASSES = {each.kind: each for each in classes(errors.GatewayError)}


def made(kind: str) -> errors.GatewayError:
    """Return an error of a kind."""
    if kind == "method_not_allowed":
        return errors.MethodNotAllowed("no", allow=("GET",))
    if kind == "quota_exceeded":
        return errors.QuotaExceeded("no", resets_at=datetime(2030, 1, 2, tzinfo=UTC))
    if kind == "unprocessable":
        return errors.Unprocessable([("plan", "no")])
    return CLASSES[kind]("no")


def test_every_kind_stands_in_both_tables_once() -> None:
    rows = [row[0] for row in tables()["Kinds"]]
    assert sorted(rows) == sorted(CLASSES.keys() | EARLY)
    assert [row[0] for row in tables()["What they say, and what to do"]] == rows


@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_status_codes_and_retry_are_those_that_go_out(kind: str) -> None:
    status, openai, anthropic, gemini, retry = KINDS[kind]
    error = made(kind)
    if kind in EARLY:
        assert int(status) == error.status
        return
    assert int(status) == error.status

    def body(protocol: Any) -> Any:
        return json.loads(CODECS[protocol].encode_error(error, "req_1"))

    for protocol in ("openai-chat", "openai-responses"):
        told = body(protocol)["error"]
        assert openai == f"{told['type']} / {told['code'] or 'null'}"
    assert body("anthropic")["error"]["type"] == anthropic
    assert body("anthropic")["request_id"] == "req_1"
    assert body("gemini")["error"]["status"] == gemini
    headers = dict(error_headers(error))
    assert (headers.get("x-should-retry") == "false") == retry.startswith("no")
    # Those that always carry a hint say how long.
    assert ("after 1" in retry) == (headers.get("retry-after") == "1" or kind in HINTED)


# The hint of these is made where they are raised.
HINTED = {"concurrency_limited"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_has_an_example_and_advice(kind: str) -> None:
    example, advice = ADVICE[kind]
    assert len(example) > 5
    assert advice.endswith(".")
