"""OpenAI Responses: one record of its functions."""

from __future__ import annotations

from kurolproxy.protocols.base import Codec
from kurolproxy.protocols.openai_errors import encode_error
from kurolproxy.protocols.openai_responses.counting import COUNTING
from kurolproxy.protocols.openai_responses.error import decode_error
from kurolproxy.protocols.openai_responses.passing import PASSING
from kurolproxy.protocols.openai_responses.request_decode import decode_request
from kurolproxy.protocols.openai_responses.request_encode import encode_request
from kurolproxy.protocols.openai_responses.response import (
    decode_response,
    encode_response,
)
from kurolproxy.protocols.openai_responses.scan import ResponsesScanner, passed_answer
from kurolproxy.protocols.openai_responses.stream_decode import ResponsesDecoder
from kurolproxy.protocols.openai_responses.stream_encode import (
    PING,
    PING_EARLY,
    ResponsesEncoder,
)

CODEC = Codec(
    name="openai-responses",
    path="/v1/responses",
    auth=("authorization", "Bearer "),
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    decoder=ResponsesDecoder,
    encoder=ResponsesEncoder,
    scanner=ResponsesScanner,
    passed_answer=passed_answer,
    encode_error=encode_error,
    decode_error=decode_error,
    passing=PASSING,
    ping=PING,
    ping_early=PING_EARLY,
    ping_opens=True,
    counting=COUNTING,
)
