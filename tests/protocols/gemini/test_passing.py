"""Requests that go through: what is read of them, and the few edits."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Seal
from kurolproxy.protocols import asked, nesting
from kurolproxy.protocols.base import Circumstances
from kurolproxy.protocols.gemini.passing import PASSING
from kurolproxy.protocols.passthrough import pass_body
from tests.protocols.gemini.request_support import FOREIGN, NATIVE, target, token, wire

SKIP = "skip_thought_signature_validator"
CALL = {"functionCall": {"name": "f", "args": {}}}
PROOF = {"thoughtSignature": NATIVE.proof}
FOREIGN_PROOF = {"thoughtSignature": token(FOREIGN)}
OURS = {"thoughtSignature": token(NATIVE)}
WORD = {"thoughtSignature": SKIP}
THOUGHT = {"text": "hm", "thought": True}
SAID = {"text": "Hi"}

USER = b'{"contents": [{"parts": [{"text": "Hi"}]}]'


def passed(body: bytes, cap: int | None = None, **traits: Any) -> bytes:
    """Return what a body is passed on as."""
    read = asked.read(body, PASSING, 100, model="m")
    around = Circumstances(0, lambda prefix: prefix, output_cap=cap)
    found, hidden = nesting.finished(pass_body(PASSING, read, target(**traits), around))
    assert hidden is False
    return found


def fresh(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return a body that shares nothing, as a parser makes it."""
    body: dict[str, Any] = json.loads(json.dumps(wire(*parts)))
    return body


# --- what is read -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "inner"),
    [
        (
            "generationConfig",
            ("maxOutputTokens", "candidateCount", "thinkingConfig", "thinkingBudget"),
        ),
        (
            "generation_config",
            ("max_output_tokens", "candidate_count", "thinking_config", "thinking_budget"),
        ),
        (
            "generationConfig",
            ("max_output_tokens", "candidateCount", "thinkingConfig", "thinking_budget"),
        ),
        (
            "generation_config",
            ("maxOutputTokens", "candidate_count", "thinkingConfig", "thinkingBudget"),
        ),
    ],
)
@pytest.mark.parametrize("padding", [0, asked.PARSED_BYTES])
def test_the_facts_are_found_in_every_spelling(
    config: str, inner: tuple[str, str, str, str], padding: int
) -> None:
    cap, count, thinking, budget = inner
    body = {
        "contents": [],
        config: {cap: 100, count: 3, thinking: {budget: 50}},
        "padding": "x" * padding,
    }
    read = asked.read(json.dumps(body).encode(), PASSING, 100, model="models/x:y", stream=True)
    assert (read.model, read.stream) == ("models/x:y", True)
    assert (read.max_tokens, read.n, read.thinking_budget) == (100, 3, 50)


# --- the bytes --------------------------------------------------------------------------------


def test_a_body_is_passed_as_the_same_bytes() -> None:
    body = USER + b', "generationConfig": {"seed": 123456789012345678901234, "maxOutputTokens": 9}}'
    # The path names the model: another name changes no byte.
    assert passed(body) is body


CAPS: list[tuple[bytes, bytes]] = [
    (b"}", b',"generationConfig":{"maxOutputTokens":7}}'),
    (
        b', "generationConfig": {"seed": 1}}',
        b', "generationConfig": {"seed": 1,"maxOutputTokens":7}}',
    ),
    (b', "generationConfig": null}', b', "generationConfig": {"maxOutputTokens":7}}'),
    (
        b', "generationConfig": {"maxOutputTokens": 99, "topK": 1}}',
        b', "generationConfig": {"maxOutputTokens": 7, "topK": 1}}',
    ),
    (
        b', "generation_config": {"max_output_tokens": 99}}',
        b', "generation_config": {"max_output_tokens": 7}}',
    ),
    (
        b', "generationConfig": {"max_output_tokens": 99}}',
        b', "generationConfig": {"max_output_tokens": 7}}',
    ),
    (
        b', "generation_config": {"maxOutputTokens": 99}}',
        b', "generation_config": {"maxOutputTokens": 7}}',
    ),
    (
        b', "generation_config": {"seed": 1}}',
        b', "generation_config": {"seed": 1,"max_output_tokens":7}}',
    ),
]


@pytest.mark.parametrize(("rest", "lowered"), CAPS)
def test_a_cap_is_lowered_where_it_stands(rest: bytes, lowered: bytes) -> None:
    assert passed(USER + rest, 7) == USER + lowered


@pytest.mark.parametrize(
    ("rest", "traits", "sent"),
    [
        (b', "store": true}', {}, b', "store": false}'),
        (b', "store": true}', {"allow_store": True}, b', "store": true}'),
        (b"}", {}, b"}"),
    ],
)
def test_what_is_sent_is_not_stored(rest: bytes, traits: dict[str, Any], sent: bytes) -> None:
    assert passed(USER + rest, **traits) == USER + sent


@pytest.mark.parametrize("name", ["cachedContent", "cached_content"])
def test_content_cached_by_the_vendor_is_refused(name: str) -> None:
    body = USER + f', "{name}": "cachedContents/a"}}'.encode()
    with pytest.raises(BadRequest) as refused:
        passed(body)
    assert refused.value.param == "cachedContent"
    assert passed(body, allow_store=True) is body


def test_a_body_with_our_seals_is_written_again() -> None:
    body = json.dumps(wire({**CALL, **OURS})).encode()
    found = json.loads(passed(body, reasoning_family="gemini"))
    assert found == wire({**CALL, **PROOF})


# --- seals ------------------------------------------------------------------------------------

HISTORIES: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]]]] = [
    ("nothing of ours", [THOUGHT, {**CALL, **PROOF}], [THOUGHT, {**CALL, **PROOF}]),
    ("its own proof in our seal", [THOUGHT, {**CALL, **OURS}], [THOUGHT, {**CALL, **PROOF}]),
    ("a foreign proof on a call", [THOUGHT, {**CALL, **FOREIGN_PROOF}], [{**CALL, **WORD}]),
    ("a foreign proof on a text", [THOUGHT, {**SAID, **FOREIGN_PROOF}], [SAID]),
    (
        "a foreign proof on a text before calls",
        [{**SAID, **FOREIGN_PROOF}, CALL, CALL],
        [SAID, {**CALL, **WORD}, CALL],
    ),
    (
        "two foreign proofs",
        [{**SAID, **FOREIGN_PROOF}, {**CALL, **FOREIGN_PROOF}],
        [SAID, {**CALL, **WORD}],
    ),
    ("a foreign proof alone", [SAID, {"text": "", **FOREIGN_PROOF}], [SAID]),
    (
        "a foreign proof beside one of its own",
        [{**SAID, **FOREIGN_PROOF}, {**CALL, **PROOF}],
        [SAID, {**CALL, **PROOF}],
    ),
    (
        "the other spelling, in the alphabet for URLs",
        [
            {
                **CALL,
                "thought_signature": token(Seal("g", "gemini", NATIVE.proof, "why?? >>> ÿÿÿ"))
                .replace("+", "-")
                .replace("/", "_"),
            }
        ],
        [{**CALL, **PROOF}],
    ),
    ("a torn seal", [{**CALL, "thoughtSignature": "a3gxAAAA"}], [{**CALL, **WORD}]),
]


@pytest.mark.parametrize(("name", "given", "left"), HISTORIES, ids=[each[0] for each in HISTORIES])
def test_no_vendor_sees_our_seals(
    name: str, given: list[dict[str, Any]], left: list[dict[str, Any]]
) -> None:
    found = PASSING.unseal(fresh(*given), "gemini")
    assert found == wire(*left)


def test_a_turn_of_foreign_thoughts_alone_goes() -> None:
    body = wire(THOUGHT, {"text": "", **FOREIGN_PROOF})
    assert PASSING.unseal(copy.deepcopy(body), "gemini") == {"contents": body["contents"][:1]}


def test_an_unknown_family_restores_nothing() -> None:
    assert PASSING.unseal(wire({**CALL, **OURS}), None) == wire({**CALL, **WORD})


def test_the_pieces_of_a_streamed_turn_are_one_step() -> None:
    body = fresh({**SAID, **FOREIGN_PROOF})
    body["contents"] += [{"role": "model", "parts": [dict(CALL)]} for _ in range(2)]
    contents = PASSING.unseal(body, "gemini")["contents"]
    assert [each["parts"] for each in contents[1:]] == [[SAID], [{**CALL, **WORD}], [CALL]]


FORGOTTEN: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]], bool]] = [
    ("nothing", [SAID], [SAID], False),
    ("proofs", [{**SAID, **PROOF}, {**CALL, **PROOF}], [SAID, {**CALL, **WORD}], True),
    ("thoughts", [THOUGHT, SAID], [SAID], True),
    ("calls without proofs", [CALL, CALL], [{**CALL, **WORD}, CALL], True),
    ("calls that say why", [{**CALL, **WORD}], [{**CALL, **WORD}], False),
    ("a proof alone", [SAID, {"text": "", **PROOF}], [SAID], True),
]


@pytest.mark.parametrize(
    ("name", "given", "left", "changed"), FORGOTTEN, ids=[each[0] for each in FORGOTTEN]
)
def test_thoughts_are_forgotten_with_their_proofs(
    name: str, given: list[dict[str, Any]], left: list[dict[str, Any]], changed: bool
) -> None:
    assert PASSING.forget is not None
    body = fresh(*given)
    assert PASSING.forget(body) is changed
    assert body == wire(*left)
    assert PASSING.forget(body) is False


WORDS = st.sampled_from(
    ["contents", "parts", "role", "model", "text", "thought", "thoughtSignature", "functionCall"]
)
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | WORDS
    | st.sampled_from([token(NATIVE), token(FOREIGN), "a3gx", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=30,
)


@given(st.dictionaries(WORDS, ANY))
def test_any_body_can_be_edited(body: dict[str, Any]) -> None:
    PASSING.unseal(copy.deepcopy(body), "gemini")
    assert PASSING.forget is not None
    PASSING.forget(body)
    assert PASSING.forget(body) is False
