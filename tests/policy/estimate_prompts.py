"""Prompts as agents send them, in the bodies of all four protocols, and what models read."""

from __future__ import annotations

import inspect
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import toktok

from kurolproxy.ir import ProtocolName
from tests.policy.estimate_texts import KINDS, SCRIPTS, manual

VOCABULARY = "o200k_base"
MESSAGE_TOKENS = 4  # role and separators, as chat templates write them


@dataclass(frozen=True, slots=True)
class Turn:
    """A call of a tool and its result."""

    said: str
    tool: str
    args: Mapping[str, Any]
    result: str


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation of an agent.

    Attributes:
        tools: each with ``name``, ``description`` and ``parameters``.
        task: what the user asked, as the parts of one message.
    """

    system: str
    tools: tuple[dict[str, Any], ...]
    task: tuple[str, ...]
    turns: tuple[Turn, ...]

    def read_by_the_model(self) -> Iterator[str]:
        """Yield every text that the model reads, unescaped."""
        yield self.system
        yield from map(compact, self.tools)
        yield from self.task
        for turn in self.turns:
            yield from (turn.said, turn.tool, compact(turn.args), turn.result)

    def tokens(self, vocabulary: str = VOCABULARY) -> int:
        """Return what the prompt is in tokens."""
        messages = 2 + 2 * len(self.turns)
        counted = toktok.batch_count(self.read_by_the_model(), vocabulary, threads=1)
        return sum(counted) + MESSAGE_TOKENS * messages


@dataclass(frozen=True, slots=True)
class Prompt:
    """A session as one protocol writes it.

    Attributes:
        kind: of the text that makes up about half of its tokens.
        escaped: letters of other scripts are written as ``\\u`` escapes.
    """

    kind: str
    protocol: ProtocolName
    session: Session
    escaped: bool = False

    def document(self) -> dict[str, Any]:
        """Return the request as a JSON object."""
        return WRITERS[self.protocol](self.session, random.Random(self.kind))

    def body(self) -> bytes:
        """Return the request as its client writes it."""
        if self.escaped:  # as Python's json does when nobody tells it otherwise
            return json.dumps(self.document()).encode()
        return compact(self.document()).encode()


def compact(value: object) -> str:
    """Write JSON as JavaScript does."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# --- what agents declare and say ----------------------------------------------------------

_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    subprocess.run, shutil.copytree, shutil.move, shutil.make_archive, shutil.which, os.walk,
    os.makedirs, re.sub, re.split, tempfile.mkstemp, tempfile.mkdtemp, json.dumps,
)  # fmt: skip
_TYPES = {bool: "boolean", int: "integer", float: "number", tuple: "array"}
_SAID = (
    "I will look at the relevant part of the file first.",
    "Now I check where this is used, before I change anything.",
    "That failed; the reason seems to be in the second argument. Let me read on.",
    "The change is in place. I run the tests to see whether everything still works.",
)


def declared(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a function of the standard library as a tool."""
    properties = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind = _TYPES.get(type(parameter.default), "string")
        items = {"items": {"type": "string"}} if kind == "array" else {}
        about = f"The {name} of the operation, see the description of the tool."
        properties[name] = {"type": kind, **items, "description": about}
    return {
        "name": f"{function.__module__}_{function.__name__}",
        "description": inspect.getdoc(function) or "",
        "parameters": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": properties,
            "required": list(properties)[:1],
            "additionalProperties": False,
        },
    }


TOOLS = tuple(map(declared, _FUNCTIONS))


def session(dice: random.Random, results: list[str]) -> Session:
    """Return a session in which tools gave these results."""
    system = "You are a coding agent. Follow the rules of this manual.\n" + manual(dice)[:9_000]
    task = (
        f"<environment>\nLinux, /srv/projects/it-{dice.randrange(99)}, branch main\n</environment>",
        "Find out why the nightly run fails, explain it to me, and mend it with a small change.",
    )
    turns = tuple(_turn(dice, result) for result in results)
    return Session(system, TOOLS, task, turns)


def _turn(dice: random.Random, result: str) -> Turn:
    args = {
        "file_path": f"/srv/project/code/src/module_{dice.randrange(99)}/reader.py",
        "offset": dice.randrange(2_000),
        "limit": 200,
    }
    return Turn(dice.choice(_SAID), dice.choice(TOOLS)["name"], args, result)


def pieces(text: str, count: int) -> list[str]:
    """Cut a text into so many pieces of a length."""
    size = -(-len(text) // count)
    return [text[at : at + size] for at in range(0, len(text), size)]


# --- the four protocols -----------------------------------------------------------------


def _opaque(dice: random.Random, size: int) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return "".join(dice.choices(letters, k=size))


def chat(told: Session, dice: random.Random) -> dict[str, Any]:
    """Write Chat Completions as qwen-code does."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": told.system}]
    content = [{"type": "text", "text": text} for text in told.task]
    messages.append({"role": "user", "content": content})
    for turn in told.turns:
        call_id = f"call_{_opaque(dice, 24)}"
        function = {"name": turn.tool, "arguments": compact(turn.args)}
        call = {"id": call_id, "type": "function", "function": function}
        messages.append({"role": "assistant", "content": turn.said, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call_id, "content": turn.result})
    return {
        "model": "m",
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 32_000,
        "tools": [{"type": "function", "function": tool} for tool in told.tools],
    }


def responses(told: Session, dice: random.Random) -> dict[str, Any]:
    """Write Responses as Codex does, but for its web search."""
    items = [_item("developer", [told.system], dice), _item("user", told.task, dice)]
    for turn in told.turns:
        call_id = f"call_{_opaque(dice, 24)}"
        items.append(_item("assistant", [turn.said], dice))
        call = {"type": "function_call", "id": f"fc_{_opaque(dice, 40)}", "name": turn.tool}
        items.append({**call, "arguments": compact(turn.args), "call_id": call_id})
        result = {"type": "function_call_output", "call_id": call_id, "output": turn.result}
        items.append(result)
    return {
        "model": "m",
        "input": items,
        "tools": [{"type": "function", "strict": False, **tool} for tool in told.tools],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": _opaque(dice, 36),
    }


def _item(role: str, texts: Any, dice: random.Random) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text} for text in texts]
    return {"type": "message", "id": f"msg_{_opaque(dice, 40)}", "role": role, "content": content}


def anthropic(told: Session, dice: random.Random) -> dict[str, Any]:
    """Write Messages as Claude Code does."""
    cached = {"cache_control": {"type": "ephemeral"}}
    content = [{"type": "text", "text": text} for text in told.task]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    for turn in told.turns:
        call_id = f"toolu_01{_opaque(dice, 22)}"
        call = {"type": "tool_use", "id": call_id, "name": turn.tool, "input": dict(turn.args)}
        said = [{"type": "text", "text": turn.said}, call]
        result = {"tool_use_id": call_id, "type": "tool_result", "content": turn.result}
        messages.append({"role": "assistant", "content": said})
        messages.append({"role": "user", "content": [{**result, **cached}]})
    tools = [
        {"name": each["name"], "description": each["description"], "input_schema": schema}
        for each in told.tools
        for schema in [each["parameters"]]
    ]
    return {
        "model": "m",
        "messages": messages,
        "system": [{"type": "text", "text": told.system, **cached}],
        "tools": tools,
        "metadata": {"user_id": compact({"device_id": dice.randbytes(32).hex()})},
        "max_tokens": 32_000,
        "thinking": {"type": "enabled", "budget_tokens": 31_999},
        "stream": True,
    }


def gemini(told: Session, _: random.Random) -> dict[str, Any]:
    """Write generateContent as gemini-cli does."""
    contents: list[dict[str, Any]] = [
        {"role": "user", "parts": [{"text": text} for text in told.task]}
    ]
    for number, turn in enumerate(told.turns):
        call_id = f"{turn.tool}-{number}"
        call = {"id": call_id, "name": turn.tool, "args": dict(turn.args)}
        said = [{"text": turn.said}, {"functionCall": call}]
        contents.append({"role": "model", "parts": said})
        result = {"id": call_id, "name": turn.tool, "response": {"output": turn.result}}
        contents.append({"role": "user", "parts": [{"functionResponse": result}]})
    declarations = [
        {"name": each["name"], "description": each["description"], "parametersJsonSchema": schema}
        for each in told.tools
        for schema in [each["parameters"]]
    ]
    return {
        "contents": contents,
        "systemInstruction": {"role": "user", "parts": [{"text": told.system}]},
        "tools": [{"functionDeclarations": declarations}],
        "generationConfig": {"temperature": 1, "thinkingConfig": {"includeThoughts": True}},
    }


WRITERS: Mapping[ProtocolName, Callable[[Session, random.Random], dict[str, Any]]] = {
    "openai-chat": chat,
    "openai-responses": responses,
    "anthropic": anthropic,
    "gemini": gemini,
}

# --- the prompts ------------------------------------------------------------------------

KIND_TOKENS = 7_500  # about as many as the agent's own: prompt, tools, calls
RESULTS = 6
LONG = "long mixed session"
SMALL = "many small messages"
SCHEMAS = "tool schemas"

# How often an agent meets a kind of text in a long session.
_WEIGHTS = {"numbered lines": 8, "search results": 4, "failed tests": 4, "diff": 3, "Markdown": 2}


def prompts() -> list[Prompt]:
    """Return every prompt: each kind of text, and some sessions of their own, by each protocol."""
    found = []
    for protocol in WRITERS:
        for kind in KINDS:
            found.append(Prompt(kind, protocol, _of_kind(kind, protocol)))
        for kind in SCRIPTS:
            told = _of_kind(kind, protocol)
            found.append(Prompt(f"{kind}, escaped", protocol, told, escaped=True))
        found.append(Prompt(SCHEMAS, protocol, _of_schemas(protocol)))
        found.append(Prompt(SMALL, protocol, _of_small(protocol)))
        found += [Prompt(LONG, protocol, _of_all(f"{protocol} {run}")) for run in range(3)]
    return found


def kind_text(kind: str, dice: random.Random, tokens: int) -> str:
    """Return so many tokens of a kind of text."""
    text, whole = toktok.truncate(KINDS[kind](dice), tokens, VOCABULARY)
    assert whole >= tokens, kind
    return text


def _of_kind(kind: str, seed: str) -> Session:
    dice = random.Random(f"{kind} {seed}")
    return session(dice, pieces(kind_text(kind, dice, KIND_TOKENS), RESULTS))


def _of_schemas(seed: str) -> Session:
    told = session(random.Random(seed), ["ok"] * RESULTS)
    # As many servers of tools as some people connect.
    more = tuple({**tool, "name": f"mcp__{n}__{tool['name']}"} for n in range(2) for tool in TOOLS)
    return Session(told.system, TOOLS + more, told.task, told.turns)


def _of_small(seed: str) -> Session:
    dice = random.Random(seed)
    words = ("ok", "done", "true", "2 files changed", "no such file", "exit code 0")
    return session(dice, [dice.choice(words) for _ in range(100)])


def _of_all(seed: str) -> Session:
    """Return forty results of all kinds but the scripts, from a hundred tokens to two thousand."""
    dice = random.Random(seed)
    kinds = [kind for kind in KINDS if kind not in SCRIPTS]
    chosen = dice.choices(kinds, [_WEIGHTS.get(kind, 1) for kind in kinds], k=40)
    texts = {kind: KINDS[kind](dice) for kind in dict.fromkeys(chosen)}
    results = []
    for kind in chosen:
        at = dice.randrange(len(texts[kind]) // 2)
        text = texts[kind][at : at + 20_000]
        results.append(toktok.truncate(text, dice.randrange(100, 2_000), VOCABULARY)[0])
    return session(dice, results)
