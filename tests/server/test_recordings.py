"""Every recording as upstream, read by all four clients, whole and cut.

What a client must see is computed from the recorded bytes by the independent readers of
``tests/fakes``, and from there by the tables of ``crossing.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from kurolproxy.app import Gateway
from kurolproxy.config.load import parse
from kurolproxy.protocols.registry import CODECS
from tests.conftest import PLANTED_KEY, new_key, soon
from tests.fakes.answers import CUTS, replay
from tests.fakes.cutting import CuttingVendor
from tests.fakes.recordings import (
    PROTOCOLS,
    Recording,
    expected,
    ids,
    needs_recordings,
    select,
)
from tests.server.crossing import check
from tests.server.reading import Readers

# One byte at a time only where that ends in time: a write and a read for each.
SMALL = 12_000

COUNTING = ("/count_tokens", ":countTokens")
SPOKEN = {name: protocol for name, protocol in PROTOCOLS.items() if protocol in CODECS}
RECORDINGS = [
    seen
    for protocol in SPOKEN
    for seen in select(protocol=protocol)
    if not seen.path.partition("?")[0].endswith(COUNTING)
]

pytestmark = [needs_recordings, pytest.mark.asyncio(loop_scope="module")]


@dataclass(slots=True)
class Stage:
    """One gateway for all exchanges, what it calls, and who calls it."""

    gateway: Gateway
    vendor: CuttingVendor
    readers: Readers


def toml(base_url: str, state_dir: str) -> str:
    """Return a configuration: a model for each protocol of the vendor."""
    upstreams = "".join(
        f"""
[[upstreams]]
name = "{name}"
base_url = "{base_url}"
protocols = ["{protocol}"]
api_keys = ["{PLANTED_KEY}"]

[[models]]
id = "{name}-model"
targets = [{{ upstream = "{name}", model = "plain", reasoning_family = "{name}" }}]
"""
        for name, protocol in SPOKEN.items()
    )
    return f"""
[server]
listen = "127.0.0.1:0"
state_dir = "{state_dir}"

[metrics]
listen = "127.0.0.1:0"
{upstreams}
[[plans]]
name = "default"
models = ["*"]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("recordings")
    async with contextlib.AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(CuttingVendor())
        log = stack.enter_context((folder / "log").open("wb"))
        text = toml(vendor.base_url, str(folder / "state"))
        gateway = Gateway(parse(text, "test.toml", {}), log_fd=log.fileno())
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        key = await new_key(gateway, "someone@example.org", "default")
        host, port = gateway.addresses[0]
        readers = Readers(f"http://{host}:{port}", key)
        stack.push_async_callback(readers.close)
        yield Stage(gateway, vendor, readers)


@pytest.mark.parametrize("client", SPOKEN)
@pytest.mark.parametrize("seen", RECORDINGS, ids=ids(RECORDINGS))
async def test_client_sees_what_was_recorded(seen: Recording, client: str, stage: Stage) -> None:
    want = expected(seen)
    for cut in CUTS:
        if cut is not None and cut < 64 and len(seen.response) > SMALL * cut:
            continue
        stage.vendor.answer = replay(seen, cut=cut)
        model = f"{seen.protocol}-model"
        got = await stage.readers.ask(client, model, stream=seen.stream)
        check(seen, client, want, got)
    await soon(lambda: stage.gateway.state.admission.reserved == 0)
