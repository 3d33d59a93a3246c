"""The form of a new key: what was typed, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from glob import escape
from typing import Any, Final

from kurolproxy.policy.catalog import Model, Plan, matches
from kurolproxy.storage.records import MOST_PATTERNS

FIELDS: Final = ("label", "models", "requests_per_minute", "daily_tokens", "expires_at")
PICKED: Final = "pick."
"""How the names of the boxes begin that stand for one model each."""

_SEPARATORS: Final = re.compile(r"[\s,_']")
_MOST_DIGITS: Final = 15
_BETWEEN_PATTERNS: Final = re.compile(r"[\s,]+")


@dataclass(slots=True)
class KeyForm:
    """One filling of the form.

    Attributes:
        typed: of each of ``FIELDS``, to be shown again.
        picked: ids of the models that were ticked.
        args: what ``keys.create`` is to be told besides the account.
        wrong: field -> what is wrong with it; "": with none of them.
    """

    typed: dict[str, str] = field(default_factory=lambda: dict.fromkeys(FIELDS, ""))
    picked: frozenset[str] = frozenset()
    args: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


def read(
    form: Mapping[str, str],
    plan: Plan | None,
    models: Sequence[Model],
    gettext: Callable[[str], str],
) -> KeyForm:
    """Read the form of a new key.

    Args:
        plan: of the account; None: the configuration has it no more.
        models: that the account may call.
        gettext: puts what is wrong into the reader's language.
    """
    typed = {name: form.get(name, "").strip() for name in FIELDS}
    picked = frozenset(name.removeprefix(PICKED) for name in form if name.startswith(PICKED)) & {
        each.id for each in models
    }
    found = KeyForm(typed, picked, {"label": typed["label"]})
    _read_models(found, models, gettext)
    limits = (
        ("requests_per_minute", None if plan is None else plan.requests_per_minute),
        ("daily_tokens", None if plan is None else plan.daily_tokens),
    )
    for name, most in limits:
        _read_limit(found, name, most, gettext)
    _read_expiry(found, gettext)
    return found


def _read_models(found: KeyForm, models: Sequence[Model], gettext: Callable[[str], str]) -> None:
    patterns = [each for each in _BETWEEN_PATTERNS.split(found.typed["models"]) if each]
    if len(patterns) > MOST_PATTERNS:
        # Before any is looked for: thousands of them would hold up everybody's calls.
        text = gettext("A key can have at most %(most)d patterns.")
        found.wrong["models"] = text % {"most": MOST_PATTERNS}
        return
    lost = [each for each in patterns if not any(matches((each,), model.id) for model in models)]
    if lost:
        text = gettext("No model of your plan is called like this: %(patterns)s.")
        found.wrong["models"] = text % {"patterns": ", ".join(lost)}
    # What was ticked means this model alone, whatever its name looks like.
    patterns += [escape(each.id) for each in models if each.id in found.picked]
    if patterns:
        found.args["models"] = list(dict.fromkeys(patterns))


def _read_limit(found: KeyForm, name: str, most: int | None, gettext: Callable[[str], str]) -> None:
    digits = _SEPARATORS.sub("", found.typed[name])
    if not digits:
        return
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS and int(digits)):
        found.wrong[name] = gettext("This must be a whole number from 1 up.")
    elif most is not None and int(digits) > most:
        text = gettext("Your plan has %(most)s: a key can have less, not more.")
        found.wrong[name] = text % {"most": f"{most:,}".replace(",", "\u2009")}
    else:
        found.args[name] = int(digits)


def _read_expiry(found: KeyForm, gettext: Callable[[str], str]) -> None:
    typed = found.typed["expires_at"]
    if not typed:
        return
    try:
        when = datetime.fromisoformat(typed)
    except ValueError:
        found.wrong["expires_at"] = gettext("This is no date, as 2030-12-31 is.")
        return
    found.args["expires_at"] = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
