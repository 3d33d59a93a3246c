"""OpenAI Chat Completions: the record of its functions."""

from __future__ import annotations

from kurolproxy.protocols.base import Codec
from kurolproxy.protocols.openai_chat.error import decode_error
from kurolproxy.protocols.openai_chat.passing import PASSING
from kurolproxy.protocols.openai_chat.request import decode_request, encode_request
from kurolproxy.protocols.openai_chat.response import decode_response, encode_response
from kurolproxy.protocols.openai_chat.scan import ChatScanner, passed_answer
from kurolproxy.protocols.openai_chat.stream import ChatDecoder
from kurolproxy.protocols.openai_chat.stream_encode import ChatEncoder
from kurolproxy.protocols.openai_errors import encode_error

# A comment: every client tested ignores it, before the first chunk too.
_PING = b": ping\n\n"

CODEC = Codec(
    name="openai-chat",
    path="/v1/chat/completions",
    auth=("authorization", "Bearer "),
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    decoder=ChatDecoder,
    encoder=ChatEncoder,
    scanner=ChatScanner,
    passed_answer=passed_answer,
    encode_error=encode_error,
    decode_error=decode_error,
    passing=PASSING,
    ping=_PING,
    ping_early=_PING,
)
