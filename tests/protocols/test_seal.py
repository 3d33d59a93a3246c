"""A sealed proof survives any client that gives back what it got, and nothing else is one."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.ir import Reasoning, Seal
from kurolproxy.protocols import seal

# No lone surrogates: what upstreams write was mended before it got here.
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SEALS = st.builds(
    Seal,
    protocol=st.sampled_from("argc"),
    family=WORDS,
    proof=WORDS,
    text=st.none() | WORDS,
    item_id=st.none() | WORDS,
    redacted=st.booleans(),
)


def token(body: object, magic: bytes = b"kx1") -> str:
    """Write a token by hand."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return base64.b64encode(magic + text).decode()


GOOD = {"p": "a", "f": "claude", "s": "sig"}


@given(SEALS)
def test_seal_comes_back_as_it_was(value: Seal) -> None:
    written = seal.encode(value)
    assert seal.decode(written) == value
    assert written.startswith(seal.PREFIX)
    # The Gemini SDK reads it as bytes: it must be standard base64.
    assert base64.b64encode(base64.b64decode(written, validate=True)).decode() == written


def test_token_is_the_one_of_the_wire_document() -> None:
    assert seal.encode(Seal("a", "claude", "sig")) == (
        "a3gxeyJwIjoiYSIsImYiOiJjbGF1ZGUiLCJzIjoic2lnIn0="
    )


def test_unknown_keys_are_ignored() -> None:
    assert seal.decode(token(GOOD | {"new": [1, 2]})) == Seal("a", "claude", "sig")


FOREIGN = [
    ("empty", ""),
    ("native signature", "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl"),
    ("prefix alone", "a3gx"),
    ("no base64", "a3gx!!!!"),
    ("line break inside", token(GOOD)[:8] + "\n" + token(GOOD)[8:]),
    ("cut", token(GOOD)[:-5]),
    ("other script", "a3gx\u00e9"),
    ("other magic", token(GOOD, b"kx2")),
    ("no json", token(b"{")),
    ("no object", token([GOOD])),
    ("unknown protocol", token(GOOD | {"p": "z"})),
    ("protocol is a list", token(GOOD | {"p": ["a"]})),
    ("family missing", token({"p": "a", "s": "sig"})),
    ("proof is no text", token(GOOD | {"s": 7})),
    ("text is no text", token(GOOD | {"t": ["x"]})),
    ("item is no text", token(GOOD | {"i": 1})),
    ("too deep", token(b'{"p":"a","f":"x","s":"y","z":' + b"[" * 200 + b"]" * 200 + b"}")),
    ("over a mebibyte", token(GOOD | {"t": "x" * 1_048_576})),
    ("far over a mebibyte", token(GOOD | {"t": "x" * 2_000_000})),
]


@pytest.mark.parametrize(("name", "text"), FOREIGN)
def test_anything_else_is_foreign(name: str, text: str) -> None:
    assert seal.decode(text) is None


def test_nearly_a_mebibyte_is_read() -> None:
    value = Seal("a", "claude", "sig", text="x" * 1_048_000)
    assert seal.decode(seal.encode(value)) == value


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: token(raw)))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = seal.decode(text)
    assert found is None or isinstance(found, Seal)


RESTORED = [
    ("same family", "a", "claude", True),
    ("other family", "a", "gpt", False),
    ("other protocol", "r", "claude", False),
    ("target without a family", "a", None, False),
    ("target with an empty family", "a", "", False),
]


@pytest.mark.parametrize(("name", "protocol", "family", "fits"), RESTORED)
def test_proof_is_restored_only_where_it_can_be_checked(
    name: str, protocol: str, family: str | None, fits: bool
) -> None:
    proof = Seal("a", "claude", "sig")
    found = seal.restorable(Reasoning("hm", proof), protocol, family)
    assert found is (proof if fits else None)


def test_seal_without_a_family_fits_no_target() -> None:
    assert seal.restorable(Reasoning("hm", Seal("a", "", "sig")), "a", "") is None


def test_reasoning_without_a_seal_is_not_restored() -> None:
    assert seal.restorable(Reasoning("hm", native="sig"), "a", "claude") is None
