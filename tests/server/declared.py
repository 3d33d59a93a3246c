"""Two tools in the words of both clients, and a way to ask with them."""

from __future__ import annotations

from typing import Any

from tests.server.sdks import Sdks

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPEN = {"type": "object", "properties": {}}
TOOLS: dict[str, Any] = {
    "chat": [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Tell it.", "parameters": SCHEMA},
        },
        {"type": "function", "function": {"name": "ping"}},
    ],
    "messages": [
        {"name": "weather", "description": "Tell it.", "input_schema": SCHEMA},
        {"name": "ping", "input_schema": OPEN},
    ],
}
ENDED = {"chat": "tool_calls", "messages": "tool_use"}


async def ask(sdks: Sdks, client: str, model: str, *, stream: bool = False, **more: Any) -> Any:
    return await sdks.ask(client, model, stream=stream, **{"tools": TOOLS[client], **more})
