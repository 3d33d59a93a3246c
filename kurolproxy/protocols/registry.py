"""The codecs, one line for each protocol."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kurolproxy.ir import ProtocolName
from kurolproxy.protocols.anthropic.codec import CODEC as ANTHROPIC
from kurolproxy.protocols.base import Codec
from kurolproxy.protocols.gemini.codec import CODEC as GEMINI
from kurolproxy.protocols.openai_chat.codec import CODEC as OPENAI_CHAT
from kurolproxy.protocols.openai_responses.codec import CODEC as OPENAI_RESPONSES

CODECS: Mapping[ProtocolName, Codec] = MappingProxyType(
    {codec.name: codec for codec in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC, GEMINI)}
)
