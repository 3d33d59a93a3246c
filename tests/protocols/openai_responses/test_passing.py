"""Requests that pass through: spliced, never translated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Seal
from kurolproxy.protocols import asked, nesting, seal
from kurolproxy.protocols.base import Circumstances
from kurolproxy.protocols.openai_responses.passing import PASSING, forget, unseal
from kurolproxy.protocols.passthrough import pass_body
from tests.protocols.openai_responses.request_support import target

USER = {"role": "user", "content": "Hi"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
OURS = Seal("r", "openai", "gAAA", item_id="rs_vendor")


def around(**more: Any) -> Circumstances:
    return Circumstances(1_700_000_000, lambda prefix: f"{prefix}1", **more)


def passed(body: bytes, *, cap: int | None = None, **traits: Any) -> bytes:
    """Return what an upstream gets for a body."""
    facts = asked.read(body, PASSING, 100)
    steps = pass_body(PASSING, facts, target(**traits), around(output_cap=cap))
    return nesting.finished(steps)[0]


def thought(proof: str | None, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": proof, **more}


# --- the edits ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model":"m", "input":"Hi"}', b'{"model":"up", "input":"Hi","store":false}'),
        (
            b'{"store": true,"model":"m","input":"Hi"}',
            b'{"store": false,"model":"up","input":"Hi"}',
        ),
        (
            b'{"model":"up","input":"Hi","store":null}',
            b'{"model":"up","input":"Hi","store":false}',
        ),
        (
            b'{"model":"up","input":"Hi","store":false}',
            b'{"model":"up","input":"Hi","store":false}',
        ),
    ],
)
def test_nothing_is_stored_whatever_the_client_says(body: bytes, sent: bytes) -> None:
    assert passed(body) == sent


def test_what_the_client_says_stays_where_storage_is_allowed() -> None:
    body = b'{"model":"up","input":"Hi","store":true,"previous_response_id":"resp_1"}'
    assert passed(body, allow_store=True) == body


def test_numbers_and_order_survive() -> None:
    body = b'{"input":"Hi","big":123456789012345678901234567890,"model":"m","top_p":1.0}'
    assert passed(body) == body.replace(b'"m"', b'"up"')[:-1] + b',"store":false}'


@pytest.mark.parametrize(
    ("cap", "sent"), [(b',"max_output_tokens":900', b'"max_output_tokens":50'), (b"", b":50")]
)
def test_lowered_cap_is_written(cap: bytes, sent: bytes) -> None:
    assert sent in passed(b'{"model":"m","input":"Hi"%b}' % cap, cap=50)


def test_output_cap_is_read_before_anything_is_sent() -> None:
    body = b'{"model":"m","input":"Hi","max_output_tokens":77,"stream":true}'
    facts = asked.read(body, PASSING, 100)
    assert (facts.max_tokens, facts.stream, facts.n) == (77, True, 1)


# --- state at the vendor --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": [USER, {"type": "item_reference", "id": "msg_1"}]}, "input[1]"),
        ({"input": [{"id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": None, "id": "msg_1"}]}, "input[0]"),
    ],
)
@pytest.mark.parametrize("size", [0, 1_100_000], ids=["small", "large"])
def test_reference_to_what_the_vendor_keeps_is_refused(
    fields: dict[str, Any], param: str, size: int
) -> None:
    body = {"model": "m", "instructions": "x" * size, "input": "Hi", **fields}
    wired = json.dumps(body).encode()
    with pytest.raises(BadRequest) as caught:
        passed(wired)
    assert caught.value.param == param
    assert passed(wired, allow_store=True) == wired.replace(b'"m"', b'"up"', 1)


def test_body_without_references_passes() -> None:
    body = {
        "model": "m",
        "input": [USER, CALL, {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}],
        "previous_response_id": None,
        "background": False,
        "store": False,
    }
    assert json.loads(passed(json.dumps(body).encode())) == {**body, "model": "up"}


# --- seals ----------------------------------------------------------------------------------


def items(*entries: Any) -> bytes:
    return json.dumps({"model": "m", "input": list(entries)}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("seal_", "item", "sent"),
    [
        (OURS, {}, thought("gAAA", id="rs_vendor")),
        (
            OURS,
            {"summary": [{"type": "summary_text", "text": "Shown"}]},
            thought("gAAA", id="rs_vendor", summary=[{"type": "summary_text", "text": "Shown"}]),
        ),
        (
            Seal("r", "openai", "gAAA", text="Hidden", item_id="rs_v"),
            {},
            thought("gAAA", id="rs_v", summary=[{"type": "summary_text", "text": "Hidden"}]),
        ),
        (Seal("r", "openai", "gAAA"), {}, {**thought("gAAA"), "id": None}),
        (Seal("r", "other", "gAAA"), {}, None),
        (Seal("a", "openai", "gAAA"), {}, None),
    ],
)
def test_seal_is_opened_for_its_family_and_taken_out_for_others(
    seal_: Seal, item: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    body = items(USER, thought(seal.encode(seal_), **item), CALL)
    found = json.loads(passed(body, reasoning_family="openai"))["input"]
    wanted = {name: each for name, each in (sent or {}).items() if each is not None}
    assert found == ([USER, wanted, CALL] if sent else [USER, CALL])


def test_seal_is_taken_out_when_nobody_knows_the_family() -> None:
    body = items(USER, thought(seal.encode(OURS)), CALL)
    assert json.loads(passed(body))["input"] == [USER, CALL]
    broken = items(USER, thought(seal.PREFIX + "broken"), CALL)
    assert json.loads(passed(broken, reasoning_family="openai"))["input"] == [USER, CALL]


def test_proof_of_the_vendor_passes_untouched() -> None:
    body = items(USER, thought("gAAA-bare"), CALL)
    assert passed(body) == body.replace(b'"m"', b'"up"')[:-1] + b',"store":false}'


def test_words_that_look_like_a_seal_are_no_seal() -> None:
    body = {"model": "m", "input": [{"role": "user", "content": "a3gxeyJ"}]}
    assert unseal(json.loads(json.dumps(body)), "openai") == body


# --- the second try -------------------------------------------------------------------------


def test_proofs_are_forgotten_with_the_ids_that_ask_for_them() -> None:
    said = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
    easy = {"id": "msg_3", "role": "assistant", "content": "Hm"}
    custom = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "d", "name": "g", "input": ""}
    user = {"type": "message", "id": "msg_2", "role": "user", "content": "Hi"}
    raw = thought(None, content=[{"type": "reasoning_text", "text": "Raw"}])
    body = {"input": [user, thought("gAAA"), said, CALL, custom, easy, raw]}
    assert forget(body)
    bare = [
        {name: value for name, value in item.items() if name != "id"}
        for item in (said, CALL, custom, easy)
    ]
    assert body["input"] == [user, *bare, raw]
    assert not forget(body)


def test_proofs_are_forgotten_among_items_that_are_none() -> None:
    odd = {"type": ["message"], "id": "x"}
    body = {"input": [thought("gAAA"), odd, 7, None]}
    assert forget(body)
    assert body["input"] == [odd, 7, None]


@pytest.mark.parametrize(
    "body", [{}, {"input": "Hi"}, {"input": [USER, CALL, 7, None, thought(None), thought("")]}]
)
def test_body_without_proofs_stays_as_it_is(body: dict[str, Any]) -> None:
    before = json.dumps(body)
    assert not forget(body)
    assert json.dumps(body) == before
