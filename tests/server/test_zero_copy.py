"""Same protocol on both sides: an unchanged chunk is written as the object that was read."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from kurolproxy.ir import ModelTraits, ProtocolName
from kurolproxy.protocols.asked import read
from kurolproxy.protocols.base import Circumstances, TargetView
from kurolproxy.protocols.registry import CODECS
from kurolproxy.protocols.translator import Rewriter, translate
from kurolproxy.server.reply import ClientStream
from tests.server.test_stream_life import begin, end, words


class Transport:
    """Remembers the very objects that were written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.written.extend(parts)


def rewriter(protocol: ProtocolName, public: str) -> Rewriter:
    codec = CODECS[protocol]
    body = (
        b'{"model":"%b","stream":true,"max_tokens":9,"stream_options":{"include_usage":true},'
        b'"messages":[{"role":"user","content":"x"}]}'
    ) % public.encode()
    view = TargetView("plain", public, ModelTraits())
    around = Circumstances(created=1, new_id=lambda prefix: prefix + "1")
    return translate(codec, codec, read(body, codec.passing, 100), view, around).rewriter()


def client() -> tuple[ClientStream, Transport]:
    transport = Transport()
    request: Any = SimpleNamespace(transport=transport, version=(1, 1), keep_alive=True)
    return ClientStream(request, list), transport


CASES = [("openai-chat", "c-model"), ("anthropic", "m-model")]


@pytest.mark.parametrize(("protocol", "name"), CASES)
def test_every_unchanged_chunk_is_the_object_that_was_read(
    protocol: ProtocolName, name: str
) -> None:
    passing = rewriter(protocol, "plain")
    out, transport = client()
    texts = words(name, [f"word {n} with \\u00e9 and \n" for n in range(50)])
    # Some reads hold one event, some several.
    reads = [*begin(name), *texts[:30], b"".join(texts[30:40]), b"".join(texts[40:]), *end(name)]
    for data in reads:
        piece = passing.feed(data)
        assert piece is data
        out.write(piece)
    assert passing.finished
    written = {id(each) for each in transport.written}
    assert all(id(data) in written for data in reads)


@pytest.mark.parametrize(("protocol", "name"), CASES)
def test_chunk_that_must_show_another_model_is_the_only_copy(
    protocol: ProtocolName, name: str
) -> None:
    passing = rewriter(protocol, "public")
    seen = b""
    for data in [*begin(name), *words(name, ["a", "b"]), *end(name)]:
        piece = passing.feed(data)
        assert (piece is data) == (b'"model"' not in data)
        seen += piece
    assert b"plain" not in seen
    assert b'"model":"public"' in seen
