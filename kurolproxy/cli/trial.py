"""A tiny real call to an upstream, or a connection alone: what the operator has to do about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from yarl import URL

from kurolproxy import __version__
from kurolproxy.config.model import Config
from kurolproxy.errors import GatewayError
from kurolproxy.ir import ProtocolName
from kurolproxy.policy.catalog import Catalog, Model, Target, Timeouts, Upstream
from kurolproxy.policy.choice import credentials
from kurolproxy.protocols import wire
from kurolproxy.protocols.asked import read
from kurolproxy.protocols.base import Circumstances, Codec, TargetView
from kurolproxy.protocols.registry import CODECS
from kurolproxy.protocols.translator import Translation, translate
from kurolproxy.server.scrub import Scrubber
from kurolproxy.upstream import faults
from kurolproxy.upstream.address import Address, Addresses, headers_for
from kurolproxy.upstream.both import Upstreams
from kurolproxy.upstream.client import Answer, Call
from kurolproxy.upstream.connect import Dialler

MAX_OUTPUT_TOKENS: Final = 16
"""No vendor takes less from everybody; whoever thinks first ends there, which is no failure."""
MAX_WAIT_S: Final = 60.0
"""A call that is so small and takes longer is no good, whatever the configuration allows."""
_MAX_ANSWER_BYTES: Final = 1_048_576
_MAX_DEPTH: Final = 100
_MAX_WORDS: Final = 300
_AT_ONCE: Final = 8
_CLIENT: Final[ProtocolName] = "openai-chat"
_SOME_ANSWER: Final = "The server answers, but not with this protocol"
_REMEDIES: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "Read what the vendor minds: the target's `model` or one of its flags is wrong.",
        401: "Replace this credential in `api_keys`: the vendor does not take it.",
        402: "Pay the vendor's bill, or replace this credential in `api_keys`.",
        403: "Give the credential leave for this model at the vendor, or use another one.",
        408: "Try again; the vendor is slow.",
        422: "Read what the vendor minds: the target's `model` or one of its flags is wrong.",
        429: "The credential works. Wait, or raise the limits of its account at the vendor.",
        529: "The vendor is overloaded: try again later, or add another target.",
    }
)
_WRONG_MODEL: Final = "Correct `model` of the target: the upstream does not know this one."
_WRONG_PATH: Final = "Correct `base_url` or `paths` of the upstream: nothing is at this path."
_REDIRECT: Final = "Put the address that it redirects to into `base_url`: none is followed."
_FAILING: Final = "The upstream is failing: look at its log or its status page, try again later."
_SLOW: Final = "Look at the server and the way there; a model that loads may need more time."


@dataclass(frozen=True, slots=True)
class Trial:
    """How one call, or one connection, went.

    Attributes:
        credential: its number in the file, from 1; None: there is none, or it played no part.
        model: the upstream's own name.
        status: HTTP; None: no answer came.
        problem: "" when all is well; never a secret.
        remedy: what to do about it.
    """

    upstream: str
    seconds: float
    problem: str = ""
    remedy: str = ""
    model: str | None = None
    protocol: ProtocolName | None = None
    credential: int | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way that is to be tried: a model's target, with one credential."""

    model: Model
    target: Target
    key: str | None
    credential: int | None


def candidates(model: Model) -> Iterator[Candidate]:
    """Yield the ways to a model: each target with each credential."""
    for target in model.targets:
        for number, key in enumerate(credentials(target.upstream), 1):
            yield Candidate(model, target, key, None if key is None else number)


def first_of(catalog: Catalog, upstream: Upstream) -> list[Candidate]:
    """Return each credential of an upstream with its first target; active models come first."""
    models = sorted(catalog.models.values(), key=lambda each: not each.active)
    for model in models:
        found = [each for each in candidates(model) if each.target.upstream is upstream]
        if found:
            return [each for each in found if each.target is found[0].target]
    return []


def connect_all(catalog: Catalog) -> list[Trial]:
    """Resolve the name of each upstream and connect to it, with TLS where it is https."""
    return asyncio.run(_connect_all(catalog))


def call_all(config: Config, ways: Iterable[Candidate]) -> list[Trial]:
    """Make one tiny call in each way, some at a time."""
    return asyncio.run(_call_all(config, list(ways)))


# --- connections --------------------------------------------------------------------------


class _Opened(asyncio.Protocol):
    """Closes a connection as soon as it stands."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _connect_all(catalog: Catalog) -> list[Trial]:
    gate = asyncio.Semaphore(_AT_ONCE)
    dialler = Dialler()

    async def one(upstream: Upstream) -> Trial:
        async with gate:
            return await _connect(dialler, upstream, _timeouts(catalog, upstream))

    return await asyncio.gather(*map(one, catalog.upstreams.values()))


async def _connect(dialler: Dialler, upstream: Upstream, timeouts: Timeouts) -> Trial:
    # Behind a proxy the proxy is all that we can reach without a request.
    origin = Address.of(URL(upstream.proxy or upstream.base_url)).origin
    began = time.monotonic()
    try:
        await dialler.dial(origin, _Opened, timeouts.connect_timeout_s)
    except GatewayError as error:
        whose = "its proxy: " if upstream.proxy else ""
        problem, remedy = f"{whose}{error.message}", _remedy_of(error, proxy=bool(upstream.proxy))
        return Trial(upstream.name, time.monotonic() - began, problem, remedy)
    return Trial(upstream.name, time.monotonic() - began)


def _timeouts(catalog: Catalog, upstream: Upstream) -> Timeouts:
    ways = first_of(catalog, upstream)
    return ways[0].target.timeouts if ways else Timeouts()


def _remedy_of(error: GatewayError, *, proxy: bool) -> str:
    """Return what to do about a connection that does not stand."""
    where = "`proxy`" if proxy else "`base_url`"
    known = {
        faults.unknown_name().message: f"Correct the host in {where}, or look at this machine's"
        " resolver (`getent hosts NAME`).",
        faults.no_tls().message: f"Look at scheme and port in {where} (https and 443?), at the"
        " certificate (`openssl s_client -connect HOST:PORT`), and at this machine's clock and"
        " authorities (ca-certificates).",
        faults.unreachable().message: f"Look at host and port in {where}, whether the server"
        " runs, and what the firewall lets out.",
        faults.connect_too_slow().message: f"Look at host and port in {where}, and at a firewall"
        " that drops what it does not let out.",
        faults.not_http().message: f"Look at scheme and port in {where}: no HTTP is spoken there.",
        faults.no_answer().message: "Look at the server's log: it closes the connection. Scheme"
        f" and port in {where} may be wrong.",
    }
    return known.get(error.message, _FAILING)


# --- calls --------------------------------------------------------------------------------


async def _call_all(config: Config, ways: list[Candidate]) -> list[Trial]:
    gate = asyncio.Semaphore(_AT_ONCE)
    caller = _Caller(config)

    async def one(way: Candidate) -> Trial:
        async with gate:
            return await caller.call(way)

    try:
        return await asyncio.gather(*map(one, ways))
    finally:
        await caller.close()


class _Caller:
    """Makes tiny calls by the gateway's own client and codecs; inside the running loop."""

    def __init__(self, config: Config) -> None:
        hosts = (
            urlsplit(each.base_url).hostname or "" for each in config.catalog.upstreams.values()
        )
        self._scrubber = Scrubber(config.secrets, hosts)
        self._upstreams = Upstreams()
        self._addresses = Addresses()

    async def close(self) -> None:
        await self._upstreams.close()

    async def call(self, way: Candidate) -> Trial:
        """Call once and judge the answer."""
        target = way.target
        codec = CODECS[target.protocols[0]]
        limit_s = min(target.timeouts.answer_timeout_s, MAX_WAIT_S)
        began = time.monotonic()
        status: int | None = None
        try:
            translation = _tiny(way, codec)
            async with asyncio.timeout(limit_s):
                answer = await self._upstreams.send(self._request(way, translation))
                status = answer.status
                problem, remedy = await self._judged(way, answer, translation)
        except TimeoutError:
            problem, remedy = f"There was no answer within {limit_s:g} s.", _SLOW
        except GatewayError as error:
            problem = self._clean(error.message)
            remedy = _remedy_of(error, proxy=target.upstream.proxy is not None)
        return Trial(
            target.upstream.name,
            time.monotonic() - began,
            problem,
            remedy,
            model=target.model,
            protocol=codec.name,
            credential=way.credential,
            status=status,
        )

    def _request(self, way: Candidate, translation: Translation) -> Call:
        target, codec = way.target, translation.upstream
        passed = {**translation.headers, **(codec.passing.defaults if translation.passed else {})}
        return Call(
            address=self._addresses.address(target, codec.name, codec.path),
            headers=headers_for(
                target.upstream,
                way.key,
                codec.auth,
                passed,
                user_agent=f"kurolproxy/{__version__}",
                stream=False,
            ),
            body=translation.body,
            connect_timeout_s=target.timeouts.connect_timeout_s,
            proxy=target.upstream.proxy,
        )

    async def _judged(
        self, way: Candidate, answer: Answer, translation: Translation
    ) -> tuple[str, str]:
        """Return what is wrong with an answer and what to do; two times "" when nothing is."""
        try:
            data = await answer.body(_MAX_ANSWER_BYTES)
        finally:
            answer.close()
        if answer.status != 200:
            return self._refused(way, answer.status, data, translation.upstream)
        streamed = answer.content_type == "text/event-stream"
        whole = translation.gather(data) if streamed else translation.whole(data)
        if whole.failure is None:
            return "", ""
        words = self._clean(whole.failure.message)
        return f"{_SOME_ANSWER}: {words}", _WRONG_PATH

    def _refused(self, way: Candidate, status: int, data: bytes, codec: Codec) -> tuple[str, str]:
        fault = codec.decode_error(status, data)
        words = self._clean(fault.message)
        said = f": {words}" if words else ""
        if 300 <= status < 400:
            return f"HTTP {status}: it redirects", _REDIRECT
        if fault.credential:
            return f"HTTP {status}{said}", _REMEDIES[401]
        if status in (404, 405):
            # A vendor that knows the path says that it is the model that it does not know.
            path = self._addresses.address(way.target, codec.name, codec.path).url.path
            if "model" in words.lower():
                return f"HTTP {status}{said}", _WRONG_MODEL
            return f"HTTP {status} for {path}{said}", _WRONG_PATH
        return f"HTTP {status}{said}", _REMEDIES.get(status, _FAILING)

    def _clean(self, text: str) -> str:
        # The operator knows the inner name of a model; credentials and hosts are nobody's.
        return self._scrubber.clean(text)[:_MAX_WORDS]


def _tiny(way: Candidate, codec: Codec) -> Translation:
    """Return the smallest call of a target.

    Raises:
        BadRequest: the target's protocol cannot say it.
    """
    target = way.target
    body: dict[str, Any] = {
        "model": way.model.id,
        "messages": [{"role": "user", "content": "Say ok."}],
        target.traits.max_tokens_field: MAX_OUTPUT_TOKENS,
    }
    client = CODECS[_CLIENT]
    asked = read(wire.dumps(body), client.passing, _MAX_DEPTH)
    view = TargetView(
        model=target.model,
        public_model=way.model.id,
        traits=target.traits,
        max_output_tokens=way.model.max_output_tokens,
    )
    around = Circumstances(
        created=int(time.time()),
        new_id=lambda prefix: f"{prefix}trial",
        max_event_bytes=_MAX_ANSWER_BYTES,
        max_depth=_MAX_DEPTH,
    )
    return translate(client, codec, asked, view, around)
