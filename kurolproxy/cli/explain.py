"""``explain``: which targets, which rule of the plan and which limits a call would meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from kurolproxy.cli.output import json_option, print_facts, print_json, shown, table
from kurolproxy.cli.session import call

_COLUMNS = ("upstream", "model", "priority", "share", "credentials", "state")
_PAGES = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/...",
}


@click.command()
@click.argument("model")
@click.option("--key", required=True, metavar="ID", help="The key's id, as `keys list` shows it.")
@json_option
@click.pass_obj
def explain(given: Path | None, *, model: str, key: str, as_json: bool) -> None:
    """Say what would become of a short call of MODEL with a key, and why.

    The answers come from the functions that decide about real calls; nothing is counted.
    What rests and how many requests of the minute are left only the gateway that runs knows.
    """
    name = model.encode("utf-8", "replace").decode()
    found = call(given, "explain", {"model": name, "key": key})
    if as_json:
        print_json(found)
        return
    print_facts(dict(_facts(found)), as_json=False)
    targets = found["targets"]
    if targets:
        click.echo()
        click.echo(table(map(_row, targets), _COLUMNS))
        click.echo()
        for target in targets:
            for line in _spoken(target):
                click.echo(line)


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the lines about the call, its rules and its limits."""
    yield "call", "would be let in" if found["refusal"] is None else _refused(found["refusal"])
    yield "model", _model(found)
    key = found["key"]
    label = f' "{key["label"]}"' if key["label"] else ""
    yield "key", f"{key['id']}{label} of {key['email']}, {key['status']}"
    yield from _rules(found["plan"], known=found["model"] is not None)
    limits = found["limits"]
    yield "requests per minute", _left(limits["requests_per_minute"], limits["requests_left"])
    at_once = limits["concurrent_requests"]
    yield "requests at once", f"{limits['running']} of {_limit(at_once)} running"
    yield "tokens of the day", _tokens(limits)
    if limits["output_cap"] is not None:
        yield "longest answer", f"{limits['output_cap']:,} tokens"


def _refused(refusal: Mapping[str, Any]) -> str:
    return f"{refusal['status']} {refusal['kind']}: {refusal['message']}"


def _model(found: Mapping[str, Any]) -> str:
    if found["model"] is None:
        return f"there is no {found['asked']}"
    alias = "" if found["model"] == found["asked"] else f", asked for as {found['asked']}"
    return f"{found['model']}{alias}{'' if found['active'] else ', not active'}"


def _rules(plan: Mapping[str, Any] | None, *, known: bool) -> Iterator[tuple[str, str]]:
    if plan is None:
        yield "plan", "the configuration has it no more"
        return
    yield "plan", f"{plan['name']}: {_pattern(plan['models'], plan['pattern'], known=known)}"
    if plan["key_models"] is not None:
        yield (
            "key narrowed to",
            _pattern(plan["key_models"], plan["key_pattern"], known=known),
        )


def _pattern(patterns: list[str], matched: str | None, *, known: bool) -> str:
    if matched is not None:
        return f"{matched} matches"
    return f"none of {shown(patterns)} matches" if known else shown(patterns)


def _limit(limit: int | None) -> str:
    return "any number" if limit is None else f"{limit:,}"


def _left(limit: int | None, left: int | None) -> str:
    return "no limit" if limit is None or left is None else f"{left:,} of {limit:,} left"


def _tokens(limits: Mapping[str, Any]) -> str:
    used = f"{limits['tokens_used']:,} used, {limits['tokens_reserved']:,} reserved"
    if limits["daily_tokens"] is None:
        return f"no limit; {used}"
    left = _left(limits["daily_tokens"], limits["tokens_left"])
    return f"{left}; {used}; new ones at {limits['tokens_reset_at']}"


def _row(target: Mapping[str, Any]) -> dict[str, Any]:
    return {**target, "share": f"{target['share']:.0%}", "state": _state(target)}


def _state(target: Mapping[str, Any]) -> str:
    if target["resting"] is None:
        return "not known: no gateway runs"
    told = [_rest(each, target["credentials"]) for each in target["resting"]]
    if target["max_concurrent"] is not None:
        told.insert(0, f"{target['running']} of {target['max_concurrent']} requests at once")
    return "; ".join(["open" if target["open"] else "closed", *told])


def _rest(rest: Mapping[str, Any], credentials: int) -> str:
    which = f"credential {rest['credential']} " if credentials > 1 else ""
    return f"{which}rests until {rest['until']} ({rest['seconds']:.0f} s): {rest['why']}"


def _spoken(target: Mapping[str, Any]) -> Iterator[str]:
    """Yield which protocol each endpoint speaks to a target: passed on, or translated."""
    said = [
        f"{_PAGES[client]}: {upstream}{'' if client == upstream else ' (translated)'}"
        for client, upstream in target["protocols"].items()
    ]
    yield f"{target['upstream']}/{target['model']} is spoken to in:"
    yield from (f"  {each}" for each in said)
    if target["tools_with_reasoning"] is not None:
        yield f"  tools while it thinks: {target['tools_with_reasoning']}"
