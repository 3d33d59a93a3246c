"""Same protocol on both sides: the few edits of a request, spliced into its bytes.

Numbers over 64 bits, key order and prompt caches survive only a splice. A body is parsed
and written again in one case alone: when it carries reasoning tokens of ours, which no
vendor may see.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import ModelTraits
from kurolproxy.protocols import nesting, seal, splice, wire
from kurolproxy.protocols.asked import Asked, whole_number
from kurolproxy.protocols.base import Circumstances, PassRules, Path, TargetView

# A token is a JSON string of its own: in the middle of a text or an image it is chance.
_SEAL = b'"' + seal.PREFIX.encode()


def pass_body(
    rules: PassRules, asked: Asked, view: TargetView, around: Circumstances
) -> Generator[None, None, tuple[bytes, bool]]:
    """Return the body to send, and whether the usage chunk was our wish alone.

    Pauses every 256 KiB, so that others get their turn.

    Raises:
        BadRequest: the request refers to state at the vendor.
    """
    if rules.stateful is not None and not view.traits.allow_store:
        rules.stateful(asked.top)
        _refuse_repeated(rules, asked)
        if rules.references is not None:
            yield from asked.each_item(*rules.references)
    sealed = yield from _is_sealed(asked.body)
    hide_usage = _hides_usage(rules, asked, view)
    if not (sealed or hide_usage or around.output_cap or _named_otherwise(rules, asked, view)):
        return asked.body, False
    edits = splice.Splice((yield from _unsealed(rules, asked, view)) if sealed else asked.members)
    if rules.model_in_body and asked.model != view.model:
        edits.replace("model", wire.quote(view.model))
    if rules.store is not None and not view.traits.allow_store:
        _forget(rules, asked, edits)
    if hide_usage:
        edits.put_inside("stream_options", "include_usage", b"true")
    if around.output_cap is not None:
        _lower_cap(rules, asked, view.traits, around.output_cap, edits)
    return edits.apply(), hide_usage


def _is_sealed(body: bytes) -> Generator[None, None, bool]:
    """Return whether a token of ours may be in the body."""
    for at in range(0, len(body), nesting.STEP):
        # The search of a step ends where a token that begins in it has its mark.
        if body.find(_SEAL, at, at + nesting.STEP + len(_SEAL) - 1) >= 0:
            return True
        if at:
            yield
    return False


def _refuse_repeated(rules: PassRules, asked: Asked) -> None:
    for name in rules.once:
        if len(asked.members.members.get(name, ())) > 1:
            raise BadRequest(f"The field {name} is given twice.", param=name)


def _named_otherwise(rules: PassRules, asked: Asked, view: TargetView) -> bool:
    """Return whether the model's name or ``store`` has to change."""
    if rules.store == "always" or (rules.model_in_body and asked.model != view.model):
        return True
    return rules.store is not None and asked.top.get("store") is not None


def _hides_usage(rules: PassRules, asked: Asked, view: TargetView) -> bool:
    """Return whether the usage of the stream has to be asked for, and is for us alone."""
    if not (rules.usage_option and asked.stream and view.traits.stream_options):
        return False
    return not _wants_usage(asked)


def _unsealed(
    rules: PassRules, asked: Asked, view: TargetView
) -> Generator[None, None, splice.TopLevel]:
    """Return the members of the body without tokens of ours in it."""
    document = wire.load_object(asked.body, None)
    yield
    before = wire.dumps(document)
    yield
    unsealed = rules.unseal(document, view.traits.reasoning_family)
    yield
    after = wire.dumps(unsealed)
    if after == before:
        return asked.members
    return (yield from splice.scan_in_steps(after, asked.max_depth))


def _forget(rules: PassRules, asked: Asked, edits: splice.Splice) -> None:
    if rules.store == "always":
        edits.put("store", b"false")
    elif asked.top.get("store") is not None:
        edits.replace("store", b"false")


def _wants_usage(asked: Asked) -> bool:
    options = asked.top.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise BadRequest("stream_options must be an object.", param="stream_options")
    return options is not None and options.get("include_usage") is True


def _lower_cap(
    rules: PassRules, asked: Asked, traits: ModelTraits, cap: int, edits: splice.Splice
) -> None:
    value = str(cap).encode()
    present = [path for path in rules.caps if _at(asked.top, path) is not None]
    # Every spelling that is present is lowered: which one counts is the vendor's to say.
    for path in present:
        if 0 < (whole_number(_at(asked.top, path)) or 0) <= cap:
            continue
        if len(path) == 1:
            edits.put(path[0], value)
        else:
            edits.put_inside(path[0], path[1], value)
    if not present:
        _insert_cap(rules, asked, traits, value, edits)


def _at(top: Mapping[str, Any], path: Path) -> Any:
    value: Any = top
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _insert_cap(
    rules: PassRules, asked: Asked, traits: ModelTraits, value: bytes, edits: splice.Splice
) -> None:
    own = (traits.max_tokens_field,)
    # Beside what the client wrote, in its spelling: two of one object would be refused.
    beside = [
        path for path in rules.caps if len(path) == 2 and _at(asked.top, path[:1]) is not None
    ]
    path = own if own in rules.caps else [*beside, rules.caps[0]][0]
    if len(path) == 1:
        edits.put(path[0], value)
    else:
        edits.put_inside(path[0], path[1], value)
