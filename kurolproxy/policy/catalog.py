"""The catalog: upstreams, models and plans, as the configuration file states them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType

from kurolproxy.ir import ModelTraits, ProtocolName


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The limits of one attempt, in seconds.

    Attributes:
        connect_timeout_s: until the connection stands.
        first_content_timeout_s: from the request to the first content of a stream.
        idle_timeout_s: between two pieces of a stream, after its first content.
        answer_timeout_s: for the whole of an answer that is not streamed.
    """

    connect_timeout_s: float = 5.0
    first_content_timeout_s: float = 300.0
    idle_timeout_s: float = 120.0
    answer_timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """One vendor, or one server of our own.

    Attributes:
        protocols: what it speaks, in order of preference.
        base_url: scheme, host and path prefix; no trailing slash.
        paths: protocol -> path template that replaces the vendor's usual one; ``{model}``
            stands for the upstream's own model name.
        api_keys: the credentials, secrets.
        auth_header: the header of the credential, lower case; None: the protocol's own.
        query: parameters of every request (``api-version``).
        headers: extra headers of every request.
        proxy: an HTTP proxy's URL.
        max_concurrent: requests at once; None: no limit.
        trace: pass ``traceparent`` and ``tracestate`` on.
    """

    name: str
    protocols: tuple[ProtocolName, ...]
    base_url: str
    paths: Mapping[ProtocolName, str] = field(default_factory=lambda: MappingProxyType({}))
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    auth_header: str | None = None
    query: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    proxy: str | None = field(default=None, repr=False)
    max_concurrent: int | None = None
    trace: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One way to reach a model.

    Attributes:
        model: the upstream's own name of the model.
        protocols: what may be spoken to it, in order of preference.
    """

    upstream: Upstream
    model: str
    protocols: tuple[ProtocolName, ...]
    priority: int = 0
    weight: int = 1
    traits: ModelTraits = field(default_factory=ModelTraits)
    timeouts: Timeouts = field(default_factory=Timeouts)

    def protocol_for(self, client: ProtocolName) -> ProtocolName:
        """Return the protocol to speak: the client's own when it is offered, else the first."""
        return client if client in self.protocols else self.protocols[0]

    @property
    def thinks_with_tools_in(self) -> ProtocolName | None:
        """What a Chat request with tools becomes while the model thinks; None: as without."""
        other = self.traits.tools_with_reasoning
        return other if "openai-chat" in self.protocols and other in self.protocols else None


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens."""

    prompt: float = 0.0
    completion: float = 0.0
    cache_read: float | None = None
    cache_write: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """An id that users call."""

    id: str
    targets: tuple[Target, ...]
    aliases: tuple[str, ...] = ()
    active: bool = True
    context_window: int | None = None
    max_output_tokens: int | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account may use; a limit that is None is unlimited.

    Attributes:
        models: patterns of model ids (``fnmatchcase``: ``*`` matches ``/`` too).
        reserve_output_tokens: hold this many completion tokens instead of the output cap.
        cached_tokens_weight: what a cached prompt token counts against the day's tokens.
    """

    name: str
    models: tuple[str, ...]
    requests_per_minute: int | None = None
    daily_tokens: int | None = None
    concurrent_requests: int | None = None
    max_output_tokens: int | None = None
    reserve_output_tokens: int | None = None
    cached_tokens_weight: float = 1.0

    def allows(self, model_id: str) -> bool:
        """Return whether the model with this id is in the plan."""
        return matches(self.models, model_id)


def matching(patterns: Iterable[str], model_id: str) -> str | None:
    """Return the first pattern that matches, None when none does; letter case counts."""
    return next((each for each in patterns if fnmatchcase(model_id, each)), None)


def matches(patterns: Iterable[str], model_id: str) -> bool:
    """Return whether any of the patterns matches."""
    return matching(patterns, model_id) is not None


class Catalog:
    """Upstreams, models and plans together; never changes, a reload makes another.

    Args:
        models: ids and aliases are unique among all of them (the configuration sees to it).
    """

    def __init__(
        self,
        upstreams: Iterable[Upstream] = (),
        models: Iterable[Model] = (),
        plans: Iterable[Plan] = (),
    ) -> None:
        self.upstreams: Mapping[str, Upstream] = {each.name: each for each in upstreams}
        self.models: Mapping[str, Model] = {each.id: each for each in models}
        self.plans: Mapping[str, Plan] = {each.name: each for each in plans}
        self._names = dict(self.models)
        for model in self.models.values():
            self._names.update(dict.fromkeys(model.aliases, model))

    def find(self, name: str) -> Model | None:
        """Return the active model of this id or alias, exactly as written, or None."""
        model = self._names.get(name)
        return model if model is not None and model.active else None

    def known(self, name: str) -> Model | None:
        """Return the model of this id or alias, active or not."""
        return self._names.get(name)

    def active(self, plan: Plan) -> list[Model]:
        """Return the active models of a plan, in the order of the file."""
        return [model for model in self.models.values() if model.active and plan.allows(model.id)]
