"""Which ways to a model are tried, and in which order."""

from __future__ import annotations

from collections.abc import Callable

from kurolproxy.policy.catalog import Model, Target

MAX_ATTEMPTS = 3
"""Attempts for one client request, over all credentials and targets."""


def attempts(model: Model, spin: Callable[[], float]) -> list[tuple[Target, str | None]]:
    """Return the attempts for one request: target by target, each with its credentials.

    A lower priority number comes first; inside one priority the order is drawn by weight.

    Args:
        spin: a random number in (0, 1] at each call.
    """
    if len(model.targets) == 1:
        target = model.targets[0]
        return [(target, key) for key in (target.upstream.api_keys or (None,))[:MAX_ATTEMPTS]]
    # The largest u ** (1 / weight) of independent u is the target drawn by weight.
    drawn = [
        (target.priority, -(spin() ** (1 / target.weight)) if target.weight > 0 else 0.0, index)
        for index, target in enumerate(model.targets)
    ]
    found: list[tuple[Target, str | None]] = []
    for _, _, index in sorted(drawn):
        target = model.targets[index]
        keys: tuple[str | None, ...] = target.upstream.api_keys or (None,)
        found.extend((target, key) for key in keys)
    return found[:MAX_ATTEMPTS]
