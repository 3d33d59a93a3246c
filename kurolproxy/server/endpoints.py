"""The endpoints that call models, by their paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kurolproxy.ir import ProtocolName
from kurolproxy.protocols.gemini.codec import ARRAY_CODEC as GEMINI_ARRAY
from kurolproxy.protocols.registry import CODECS
from kurolproxy.server.asking import Endpoint, Named

_MODEL_PATHS: Final[Mapping[ProtocolName, str]] = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
}
GENERATING: Final[Mapping[str, Endpoint]] = {
    path: Endpoint(CODECS[name], path) for name, path in _MODEL_PATHS.items()
}
"""The endpoints whose model stands in the body, by their paths."""

MODEL_PREFIXES: Final = ("/v1beta/models/", "/v1/models/")
# Gemini names the model in the path, and the method behind its last colon.
_GEMINI: Final = "/v1beta/models/{model}"
_ONE: Final = "generateContent"
_STREAM: Final = "streamGenerateContent"
COUNT: Final = "countTokens"
METHODS: Final = (_ONE, _STREAM, COUNT)
"""Gemini's methods of a model."""
_BY_METHOD: Final = {
    method: Endpoint(CODECS["gemini"], f"{_GEMINI}:{method}", query_key=True) for method in METHODS
}
_ARRAY: Final = Endpoint(GEMINI_ARRAY, f"{_GEMINI}:{_STREAM}", query_key=True)


def gemini_call(path: str, *, events: bool) -> tuple[Endpoint, Named, str]:
    """Return what a path below ``MODEL_PREFIXES`` asks for: endpoint, model and method.

    Args:
        path: that ends with one of ``METHODS``.
        events: whether a stream is one of events (``alt=sse``), otherwise one array.
    """
    name, _, method = path.partition("/models/")[2].rpartition(":")
    model = name.removeprefix("models/")
    if method != _STREAM:
        return _BY_METHOD[method], Named(model), method
    return _BY_METHOD[method] if events else _ARRAY, Named(model, stream=True), method


def names_method(path: str) -> bool:
    """Return whether a path below the models calls one of Gemini's methods."""
    return path.rpartition(":")[2] in METHODS
