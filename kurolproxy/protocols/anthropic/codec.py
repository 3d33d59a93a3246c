"""Anthropic Messages: one record of its functions."""

from __future__ import annotations

from kurolproxy.protocols.anthropic.counting import COUNTING
from kurolproxy.protocols.anthropic.error import decode_error, encode_error
from kurolproxy.protocols.anthropic.passing import PASSING
from kurolproxy.protocols.anthropic.request_decode import decode_request
from kurolproxy.protocols.anthropic.request_encode import encode_request
from kurolproxy.protocols.anthropic.response import decode_response, encode_response
from kurolproxy.protocols.anthropic.scan import MessagesScanner, passed_answer
from kurolproxy.protocols.anthropic.stream_decode import MessagesDecoder
from kurolproxy.protocols.anthropic.stream_encode import (
    PING,
    PING_EARLY,
    MessagesEncoder,
)
from kurolproxy.protocols.base import Codec

CODEC = Codec(
    name="anthropic",
    path="/v1/messages",
    auth=("x-api-key", ""),
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    decoder=MessagesDecoder,
    encoder=MessagesEncoder,
    scanner=MessagesScanner,
    passed_answer=passed_answer,
    encode_error=encode_error,
    decode_error=decode_error,
    passing=PASSING,
    ping=PING,
    ping_early=PING_EARLY,
    counting=COUNTING,
)
