"""Which ways to a model are tried, and in which order."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, NamedTuple

from kurolproxy.policy.catalog import Model, Target, Upstream

MAX_ATTEMPTS: Final = 3
"""Attempts for one client request, over all credentials and targets."""
_ONE = 1 << 64


class Way(NamedTuple):
    """One way to a model.

    Attributes:
        key: the upstream's credential, a secret; None: it has none.
    """

    target: Target
    key: str | None


def credentials(upstream: Upstream) -> tuple[str | None, ...]:
    """Return what a request may carry, in the order of the file."""
    return upstream.api_keys or (None,)


def ways(model: Model, session: Callable[[], bytes | None], spin: Callable[[], float]) -> list[Way]:
    """Return the ways to a model: target by target, each with its credentials.

    A lower priority number comes first. Inside one priority the targets are drawn by weight,
    for the same session always in the same order (rendezvous hashing): when one rests only
    its own sessions move, and they come back. Credentials keep the order of the file.

    Args:
        session: what the request belongs to, asked for only when it matters; None: nothing
            is known, and the order is drawn anew.
        spin: a random number in (0, 1] at each call.
    """
    if len(model.targets) == 1:
        target = model.targets[0]
        return [Way(target, key) for key in credentials(target.upstream)]
    known = session()
    drawn = [
        (target.priority, _place(target, known, spin), index)
        for index, target in enumerate(model.targets)
    ]
    targets = [model.targets[index] for _, _, index in sorted(drawn)]
    return [Way(target, key) for target in targets for key in credentials(target.upstream)]


def _place(target: Target, session: bytes | None, spin: Callable[[], float]) -> float:
    """Return where a target stands among those of its priority; the smallest comes first."""
    if target.weight <= 0:
        return math.inf
    drawn = spin() if session is None else _drawn(target, session)
    # The smallest -ln(u) / weight of independent u is the target drawn by weight.
    return -math.log(drawn) / target.weight


def _drawn(target: Target, session: bytes) -> float:
    name = f"{target.upstream.name}\n{target.model}\n".encode()
    digest = blake2b(name + session, digest_size=8).digest()
    return (int.from_bytes(digest) + 1) / _ONE
