"""How much a model should think: words, budgets of tokens, and what a model knows of them.

Source: the effort table of the mapping; the numbers are budgets that the vendors' own
tools send for these words.
"""

from __future__ import annotations

from kurolproxy.ir import EFFORTS, Effort, ReasoningWish

_BUDGETS: dict[Effort, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}
# The largest budget that still counts as the word.
_CEILINGS: tuple[tuple[int, Effort], ...] = (
    (0, "none"),
    (1024, "minimal"),
    (4096, "low"),
    (12288, "medium"),
    (24576, "high"),
)


def from_budget(budget: int) -> Effort | None:
    """Return the word for a budget of tokens.

    Returns:
        None for a negative budget: the model decides.
    """
    if budget < 0:
        return None
    return next((effort for ceiling, effort in _CEILINGS if budget <= ceiling), "xhigh")


def to_budget(effort: Effort) -> int:
    """Return the budget of tokens for a word."""
    return _BUDGETS[effort]


def wished(wish: ReasoningWish) -> Effort | None:
    """Return the effort a client asked for, whichever way it said so.

    Returns:
        None when it left the amount to the model (nothing said, ``on``, ``adaptive``,
        a budget of -1).
    """
    if wish.mode == "off":
        return "none"
    if wish.effort is not None:
        return wish.effort
    return None if wish.budget is None else from_budget(wish.budget)


def clamp(effort: Effort, allowed: tuple[Effort, ...]) -> Effort:
    """Return the effort itself, else the nearest lower one allowed, else the lowest.

    Args:
        allowed: what the model knows, in any order; empty: everything.
    """
    if not allowed or effort in allowed:
        return effort
    ranked = sorted(allowed, key=EFFORTS.index)
    lower = [each for each in ranked if EFFORTS.index(each) < EFFORTS.index(effort)]
    return lower[-1] if lower else ranked[0]
