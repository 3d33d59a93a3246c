"""The model endpoints as the document of the API describes them.

Only what the gateway itself looks at is described; everything else of the vendors' forms is
passed on or translated, and is theirs to describe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kurolproxy.server.openapi_errors import CALLS, KEYED, responses

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_LIMIT: Final[Schema] = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
_MODEL: Final[Schema] = {"type": "string", "description": "An id or an alias of a model."}
_STREAM: Final[Schema] = {"type": "boolean", "description": "Answer with server-sent events."}
_TURNS: Final[Schema] = {"type": "array", "items": {"type": "object"}}
_MOST: Final[Schema] = {"type": "integer", "description": "The output cap; thinking included."}


def _object(required: list[str], properties: Mapping[str, Schema], description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": required,
        "properties": dict(properties),
        "additionalProperties": True,
    }


def _list_of(name: str, description: str) -> Schema:
    items = {"type": "array", "items": {"type": "object"}}
    return _object([name], {name: items}, description)


SCHEMAS: Final[Mapping[str, Schema]] = {
    "ChatRequest": _object(
        ["model", "messages"],
        {"model": _MODEL, "messages": _TURNS, "stream": _STREAM, "max_completion_tokens": _MOST},
        "OpenAI's request of Chat Completions.",
    ),
    "ChatAnswer": _object(
        ["id", "object", "model", "choices"],
        {
            "id": TEXT,
            "object": {"const": "chat.completion"},
            "model": _MODEL,
            "choices": _TURNS,
            "usage": {"type": "object"},
        },
        "OpenAI's answer of Chat Completions.",
    ),
    "ResponsesRequest": _object(
        ["model"],
        {
            "model": _MODEL,
            "input": {"anyOf": [TEXT, _TURNS]},
            "stream": _STREAM,
            "max_output_tokens": _MOST,
        },
        "OpenAI's request of Responses. Nothing is stored: `previous_response_id` is refused.",
    ),
    "ResponsesAnswer": _object(
        ["id", "object", "model", "output", "status"],
        {
            "id": TEXT,
            "object": {"const": "response"},
            "model": _MODEL,
            "output": _TURNS,
            "status": TEXT,
        },
        "OpenAI's answer of Responses.",
    ),
    "InputTokens": _object(
        ["object", "input_tokens"],
        {"object": {"const": "response.input_tokens"}, "input_tokens": _COUNT},
        "How many tokens a request of Responses has.",
    ),
    "MessagesRequest": _object(
        ["model", "messages", "max_tokens"],
        {"model": _MODEL, "messages": _TURNS, "max_tokens": _MOST, "stream": _STREAM},
        "Anthropic's request of Messages.",
    ),
    "MessagesAnswer": _object(
        ["id", "type", "model", "content"],
        {"id": TEXT, "type": {"const": "message"}, "model": _MODEL, "content": _TURNS},
        "Anthropic's answer of Messages.",
    ),
    "CountRequest": _object(
        ["model", "messages"],
        {"model": _MODEL, "messages": _TURNS},
        "Anthropic's request that counts tokens.",
    ),
    "CountAnswer": _object(
        ["input_tokens"], {"input_tokens": _COUNT}, "How many tokens a request of Messages has."
    ),
    "GeminiRequest": _object(
        ["contents"],
        {"contents": _TURNS, "generationConfig": {"type": "object"}},
        "Gemini's request; the model stands in the path.",
    ),
    "GeminiAnswer": _list_of("candidates", "Gemini's answer."),
    "GeminiCount": _object(
        ["totalTokens"], {"totalTokens": _COUNT}, "How many tokens Gemini's request has."
    ),
    "OpenAIModels": _list_of("data", "OpenAI's list of models, or Anthropic's."),
    "GeminiModels": _list_of("models", "Gemini's list of models."),
    "OpenAIModel": _object(["id"], {"id": _MODEL}, "A model, as OpenAI or Anthropic describe one."),
    "GeminiModel": _object(["name"], {"name": TEXT}, "A model, as Gemini describes one."),
    "OwnUsage": _object(
        ["object", "day", "plan", "daily_tokens", "requests_per_minute"],
        {
            "object": {"const": "usage"},
            "day": {"type": "string", "format": "date"},
            "plan": TEXT,
            "daily_tokens": _object(
                ["limit", "used", "reserved", "remaining", "resets_at"],
                {
                    "limit": _LIMIT,
                    "used": _COUNT,
                    "reserved": _COUNT,
                    "remaining": _LIMIT,
                    "resets_at": {"type": "string", "format": "date-time"},
                },
                "A limit that is null is none.",
            ),
            "requests_per_minute": _object(
                ["limit", "remaining"],
                {"limit": _LIMIT, "remaining": _LIMIT},
                "A limit that is null is none.",
            ),
        },
        "Where the calling key's account stands today.",
    ),
    "Alive": _object(["status"], {"status": {"const": "ok"}}, "The process answers."),
    "Ready": _object(
        ["status"],
        {"status": {"enum": ["ok", "unready"]}, "reason": TEXT},
        "Whether calls should come here, and why not.",
    ),
    "AnthropicError": _object(
        ["type", "error", "request_id"],
        {
            "type": {"const": "error"},
            "error": _object(["type", "message"], {"type": TEXT, "message": TEXT}, "What it was."),
            "request_id": TEXT,
        },
        "The body of an error, as Anthropic writes it.",
    ),
    "GeminiError": _object(
        ["error"],
        {
            "error": _object(
                ["code", "message", "status"],
                {"code": {"type": "integer"}, "message": TEXT, "status": TEXT},
                "What it was.",
            )
        },
        "The body of an error, as Google writes it.",
    ),
}
"""The bodies of the model endpoints, by name."""

HEADERS: Final[Mapping[str, Schema]] = {
    "RequestId": {"description": "The gateway's own id of the request.", "schema": TEXT},
    "Dropped": {
        "description": "Fields of the request that the model's upstream cannot be told.",
        "schema": TEXT,
    },
    "OutputCap": {"description": "The output cap, where it was lowered.", "schema": _COUNT},
    "Estimate": {
        "description": "`true`: no upstream could count; it is the gateway's estimate.",
        "schema": TEXT,
    },
    "RetryAfter": {"description": "Seconds until a repetition can succeed.", "schema": _COUNT},
}

SECURITY: Final[Mapping[str, Schema]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key: `sk-kurol-...`."},
    "xApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "googleKey": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
    "googleQuery": {
        "type": "apiKey",
        "in": "query",
        "name": "key",
        "description": "On Gemini's paths alone; prefer a header.",
    },
    "managementBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A management key: `sk-kurol-admin-...`.",
    },
    "managementKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_KEY: Final[list[Schema]] = [{"bearer": []}, {"xApiKey": []}, {"googleKey": []}]
_GOOGLE: Final[list[Schema]] = [*_KEY, {"googleQuery": []}]

_STRICT: Final[Schema] = {
    "name": "x-kurol-strict",
    "in": "header",
    "description": "`1`: refuse the request instead of dropping a field of it.",
    "schema": {"type": "string", "enum": ["1"]},
}
_NAMED: Final[Schema] = {"name": "model", "in": "path", "required": True, "schema": _MODEL}


def ref(name: str) -> Schema:
    """Return a reference to a structure."""
    return {"$ref": f"#/components/schemas/{name}"}


def answer(name: str, description: str, *headers: str, events: bool = False) -> Schema:
    """Return the answer of an operation that went well.

    Args:
        headers: names of ``HEADERS`` beside the request id, and how they are spelled.
        events: it can be a stream of server-sent events.
    """
    content: Schema = {"application/json": {"schema": ref(name)}}
    if events:
        content["text/event-stream"] = {"schema": TEXT}
    named = {each: {"$ref": f"#/components/headers/{_SPELT[each]}"} for each in headers}
    return {
        "description": description,
        "headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}, **named},
        "content": content,
    }


_SPELT: Final = {
    "x-kurol-dropped": "Dropped",
    "x-kurol-output-cap": "OutputCap",
    "x-kurol-estimate": "Estimate",
}


def _call(
    tag: str, id_: str, summary: str, asked: str, answered: str, error: str, *, google: bool = False
) -> Schema:
    lost = ("x-kurol-dropped", "x-kurol-output-cap")
    good = answer(answered, "The whole answer, or its events.", *lost, events=True)
    return {
        "post": {
            "tags": [tag],
            "operationId": id_,
            "summary": summary,
            "security": _GOOGLE if google else _KEY,
            "parameters": [*([_NAMED] if google else []), _STRICT],
            "requestBody": _body(asked),
            "responses": {"200": good, **responses(CALLS, error)},
        }
    }


def _count(
    tag: str, id_: str, asked: str, answered: str, error: str, *, google: bool = False
) -> Schema:
    good = answer(answered, "The number.", "x-kurol-estimate")
    return {
        "post": {
            "tags": [tag],
            "operationId": id_,
            "summary": "Count the tokens of a prompt",
            "security": _GOOGLE if google else _KEY,
            "parameters": [_NAMED] if google else [],
            "requestBody": _body(asked),
            "responses": {"200": good, **responses(CALLS, error)},
        }
    }


def _body(name: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": ref(name)}}}


def _question(id_: str, summary: str, answered: str, error: str, **more: Any) -> Schema:
    return {
        "get": {
            "tags": ["Models and usage"],
            "operationId": id_,
            "summary": summary,
            "security": _KEY,
            "responses": {
                "200": answer(answered, "What was asked for."),
                **responses(KEYED, error),
            },
            **more,
        }
    }


def _gemini(version: str) -> Schema:
    below = f"/{version}/models/{{model}}"
    suffix = "" if version == "v1beta" else "V1"
    one = ("Gemini", "GeminiRequest", "GeminiAnswer", "GeminiError")
    return {
        f"{below}:generateContent": _call(
            one[0], f"generateContent{suffix}", "Answer a prompt", *one[1:], google=True
        ),
        f"{below}:streamGenerateContent": _call(
            one[0],
            f"streamGenerateContent{suffix}",
            "Answer a prompt with a stream: events with `?alt=sse`, else a JSON array",
            *one[1:],
            google=True,
        ),
        f"{below}:countTokens": _count(
            "Gemini",
            f"countTokens{suffix}",
            "GeminiRequest",
            "GeminiCount",
            "GeminiError",
            google=True,
        ),
    }


def _open(id_: str, summary: str, name: str) -> Schema:
    return {
        "get": {
            "tags": ["Health"],
            "operationId": id_,
            "summary": summary,
            "security": [],
            "responses": {"200": answer(name, "It is.")},
        }
    }


def _paths() -> dict[str, Schema]:
    ready = _open("ready", "Whether calls should come here", "Ready")
    ready["get"]["responses"]["503"] = answer("Ready", "Not now.")
    return {
        "/v1/chat/completions": _call(
            "OpenAI",
            "createChatCompletion",
            "Answer a conversation (Chat Completions)",
            "ChatRequest",
            "ChatAnswer",
            "Error",
        ),
        "/v1/responses": _call(
            "OpenAI",
            "createResponse",
            "Answer a conversation (Responses)",
            "ResponsesRequest",
            "ResponsesAnswer",
            "Error",
        ),
        "/v1/responses/input_tokens": _count(
            "OpenAI", "countResponseTokens", "ResponsesRequest", "InputTokens", "Error"
        ),
        "/v1/messages": _call(
            "Anthropic",
            "createMessage",
            "Answer a conversation (Messages)",
            "MessagesRequest",
            "MessagesAnswer",
            "AnthropicError",
        ),
        "/v1/messages/count_tokens": _count(
            "Anthropic", "countMessageTokens", "CountRequest", "CountAnswer", "AnthropicError"
        ),
        **_gemini("v1beta"),
        **_gemini("v1"),
        "/v1/models": _question(
            "listOwnModels",
            "List the models of the calling key, in the shape that its client knows",
            "OpenAIModels",
            "Error",
        ),
        "/v1/models/{model}": _one_model("readOwnModel", "OpenAIModel", "Error"),
        "/v1beta/models": _question(
            "listOwnGeminiModels",
            "List the models of the calling key",
            "GeminiModels",
            "GeminiError",
            security=_GOOGLE,
        ),
        "/v1beta/models/{model}": _one_model(
            "readOwnGeminiModel", "GeminiModel", "GeminiError", security=_GOOGLE
        ),
        "/v1/usage": _question(
            "readOwnUsage", "Tell where the calling key's account stands", "OwnUsage", "Error"
        ),
        "/livez": _open("alive", "Whether the process answers", "Alive"),
        "/readyz": ready,
    }


def _one_model(id_: str, answered: str, error: str, **more: Any) -> Schema:
    summary = "Read a model of the calling key"
    found = _question(id_, summary, answered, error, parameters=[_NAMED], **more)
    missing = responses([e for e in CALLS if e.status == 404], error)
    found["get"]["responses"].update(missing)
    return found


PATHS: Final[Mapping[str, Schema]] = _paths()
"""The paths of the model endpoints and the probes."""
