"""The independent readers, held against the SDKs of the vendors: both read the same."""

from __future__ import annotations

import pytest

from tests.fakes.answers import replay
from tests.fakes.cutting import CuttingVendor
from tests.fakes.recordings import Recording, expected, ids, needs_recordings, select
from tests.server.reading import CLIENTS, Readers

pytestmark = needs_recordings

# What an SDK does not read as the wire documents say, and why.
DIFFERS = {
    "chat-gpustack-midstream-error-field-stream": "it does not know the field error",
    "chat-openai-truncated-connection-stream": "it fails on the half frame",
    "messages-anthropic-truncated-connection-stream": "it fails on the half frame",
    "messages-anthropic-spliced-message-start-stream": "it adds the two answers up",
    "responses-openai-truncated-connection-stream-2": "it fails on the half frame",
    "gemini-vertex-json-array-stream": "it wants one object, and enums as words",
    "gemini-vertex-stop-sequence": "it wants enums as words",
}
ANSWERS = [
    seen
    for protocol in CLIENTS
    for seen in select(protocol=protocol)
    if seen.status == 200 and seen.stem not in DIFFERS and "count-tokens" not in seen.stem
]


@pytest.mark.parametrize("seen", ANSWERS, ids=ids(ANSWERS))
async def test_sdk_of_the_vendor_reads_the_same(seen: Recording) -> None:
    wanted = expected(seen)
    async with CuttingVendor() as vendor:
        vendor.answer = replay(seen, cut=64)
        readers = Readers(vendor.base_url, "k")
        got = await readers.ask(seen.protocol, "m", stream=seen.stream)
        await readers.close()
    assert got.error == wanted.error
    assert (got.text, got.reasoning) == (wanted.text, wanted.reasoning)
    assert got.refusal == wanted.refusal
    assert got.calls == list(wanted.calls)
    if wanted.error is None:
        assert (got.finish, got.usage) == (wanted.finish, wanted.usage)


def test_nothing_is_left_out_in_silence() -> None:
    named = {seen.stem for protocol in CLIENTS for seen in select(protocol=protocol)}
    assert named >= set(DIFFERS)
