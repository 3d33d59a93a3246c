"""What the tests of requests share: targets, bodies, both directions."""

from __future__ import annotations

from typing import Any

from kurolproxy.ir import Request
from kurolproxy.protocols.openai_responses.request_decode import decode_request
from kurolproxy.protocols.openai_responses.request_encode import encode_request
from tests.protocols.sending import Sending

SENDING = Sending(encode_request)
target, encoded, body = SENDING.target, SENDING.encoded, SENDING.body


def asked(*items: Any, **wire: Any) -> Request:
    """Read a request that has these items and fields beside the least it needs."""
    return decode_request({"model": "m1", "input": list(items) or "Hi", **wire})
