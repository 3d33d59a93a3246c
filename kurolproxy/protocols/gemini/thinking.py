"""How much a Gemini model is asked to think, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from kurolproxy.ir import Effort, ModelTraits, ReasoningWish
from kurolproxy.protocols import efforts
from kurolproxy.protocols.base import Fields
from kurolproxy.protocols.gemini.parts_decode import Notes
from kurolproxy.protocols.gemini.vocabulary import WireFields
from kurolproxy.protocols.losses import Reader

_EFFORTS: Mapping[str, Effort] = {
    "MINIMAL": "minimal",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}
_LEVELS: Mapping[Effort, str] = {
    **{effort: level for level, effort in _EFFORTS.items()},
    "max": "XHIGH",
}
_LEAST_BUDGET = 1024
_LEAST_ANSWER = 1024
"""Tokens that must be left for the answer behind the thoughts: the output cap holds both."""


# --- decode -----------------------------------------------------------------------------


def decode(config: Fields, notes: Notes) -> ReasoningWish | None:
    """Read ``thinkingConfig`` of a generation config.

    Returns:
        None when it leaves all to the model and does not want to read the thoughts.
    """
    given = config.object("thinkingConfig")
    if given is None:
        return None
    fields = WireFields(given, config.path("thinkingConfig"))
    show: Literal["none", "summary"] = "summary" if fields.flag("includeThoughts") else "none"
    budget, level = fields.integer("thinkingBudget"), fields.text("thinkingLevel")
    notes.rest(fields, frozenset(), "generationConfig.thinkingConfig.")
    word = (level or "").upper().removeprefix("THINKING_LEVEL_")
    effort = _EFFORTS.get(word)
    if effort is None and word not in ("", "UNSPECIFIED"):
        notes.lost("generationConfig.thinkingConfig.thinkingLevel")
    if effort is None and budget is None:
        # Wanting to read the thoughts leaves their amount to the model.
        return None if show == "none" else ReasoningWish(mode="adaptive", show=show)
    return ReasoningWish(effort, budget, show=show)


# --- encode -----------------------------------------------------------------------------


def encode(reader: Reader, traits: ModelTraits, cap: int | None) -> dict[str, Any] | None:
    """Return the ``thinkingConfig`` to send; None: say nothing.

    Args:
        cap: the output cap that goes out, thoughts included.
    """
    wish = reader.request.reasoning
    if wish is None or traits.thinking == "none":
        return None
    effort = _known(efforts.wished(wish), traits)
    if effort == "none":
        reader.whole(wish)
        return {"thinkingBudget": 0}
    amount: dict[str, Any] | None = {}
    if effort is not None and traits.thinking == "adaptive":
        amount = {"thinkingLevel": _LEVELS[effort]}
    elif effort is not None:
        amount = _budget(wish, effort, traits, cap)
    if amount is None:
        return None
    reader.whole(wish)
    if wish.show != "none" and amount != {"thinkingBudget": 0}:
        amount["includeThoughts"] = True
    return amount or None


def _known(effort: Effort | None, traits: ModelTraits) -> Effort | None:
    """Return the nearest effort that the target has."""
    if effort is None:
        return None
    if effort == "none":
        # Off is a budget of zero, not a level; a list of efforts without it has no off.
        if traits.thinking_can_disable and (not traits.efforts or "none" in traits.efforts):
            return "none"
        effort = "minimal"
    return efforts.clamp(effort, tuple(each for each in traits.efforts if each != "none"))


def _budget(
    wish: ReasoningWish, effort: Effort, traits: ModelTraits, cap: int | None
) -> dict[str, Any] | None:
    """Return the budget of tokens, lowered as far as the cap wants it."""
    asked = efforts.to_budget(effort)
    if wish.effort is None and wish.budget and efforts.from_budget(wish.budget) == effort:
        asked = wish.budget
    if cap is None or asked + _LEAST_ANSWER <= cap:
        return {"thinkingBudget": asked}
    lowered = cap - _LEAST_ANSWER
    if lowered >= _LEAST_BUDGET:
        return {"thinkingBudget": lowered}
    # Without room for both the answer counts; who cannot be switched off decides alone.
    return {"thinkingBudget": 0} if traits.thinking_can_disable else None
