"""Gemini generateContent: the records of its functions, one for each form of a stream."""

from __future__ import annotations

from dataclasses import replace

from kurolproxy.protocols.base import Codec
from kurolproxy.protocols.gemini.counting import COUNTING
from kurolproxy.protocols.gemini.error import decode_error, encode_error
from kurolproxy.protocols.gemini.passing import PASSING
from kurolproxy.protocols.gemini.request_decode import decode_request
from kurolproxy.protocols.gemini.request_encode import encode_request
from kurolproxy.protocols.gemini.response import decode_response, encode_response
from kurolproxy.protocols.gemini.scan import (
    GeminiArrayScanner,
    GeminiScanner,
    passed_answer,
)
from kurolproxy.protocols.gemini.stream_decode import GeminiDecoder
from kurolproxy.protocols.gemini.stream_encode import (
    ARRAY_PING,
    PING,
    GeminiArrayEncoder,
    GeminiEncoder,
    array_error,
)

CODEC = Codec(
    name="gemini",
    path="/v1beta/models/{model}:generateContent",
    auth=("x-goog-api-key", ""),
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    decoder=GeminiDecoder,
    encoder=GeminiEncoder,
    scanner=GeminiScanner,
    passed_answer=passed_answer,
    encode_error=encode_error,
    decode_error=decode_error,
    passing=PASSING,
    ping=PING,
    ping_early=PING,
    stream_path="/v1beta/models/{model}:streamGenerateContent?alt=sse",
    counting=COUNTING,
)
"""A stream is server-sent events: the client asked for ``alt=sse``."""

ARRAY_CODEC = replace(
    CODEC,
    encoder=GeminiArrayEncoder,
    scanner=GeminiArrayScanner,
    ping=ARRAY_PING,
    ping_early=ARRAY_PING,
    content_type="application/json",
    late_error=array_error,
)
"""A stream is one JSON array, sent in pieces; the upstream is asked for events all the same."""
