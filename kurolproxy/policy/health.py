"""Which credentials and targets are resting, and the one real request that probes each.

A way to a model is a target and one of its upstream's credentials. Three things can rest: the
credential, the credential for this target alone, and the target.

    works --> rests: the vendor refused the credential, asked for a pause, or failed
        ``FAILURES`` times in a row within ``WINDOW_S``
    rests --> rests: its time is over, one request passes as the probe and the others stay
        away for ``PROBE_S`` more; or the probe failed
    rests --> works: any answer came

Nothing runs by itself: time is handed in, and a rest that is over shows when it is looked at.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from kurolproxy.errors import Blame, Overloaded
from kurolproxy.policy.catalog import Catalog, Upstream
from kurolproxy.policy.choice import Way, credentials

FAILURES: Final = 20
"""So many failures in a row ..."""
WINDOW_S: Final = 10.0
"""... within so many seconds let a target rest."""
PROBE_S: Final = 5.0
"""Between two probes of something that rests."""
REFUSED_S: Final = 300.0
"""How long a credential rests that the vendor refused."""
LONGEST_PAUSE_S: Final = 300.0
SHORTEST_PAUSE_S: Final = 1.0
SLOW_S: Final = 30.0
"""An attempt that waited so long in vain puts its target behind the others ..."""
AVOIDED_S: Final = 60.0
"""... for so long."""
_LONGEST_HINT_S: Final = 60.0

Part = Literal["credential", "access", "target"]
_PARTS: Final[tuple[Part, ...]] = ("credential", "access", "target")
_REFUSED: Final[dict[Blame, Part]] = {"credential": "credential", "access": "access"}
# What a vendor counts it counts for each credential; a server that is busy is so for all.
_PAUSED: Final[dict[Blame, Part]] = {"limited": "access", "busy": "target"}


@dataclass(frozen=True, slots=True)
class Failed:
    """How an attempt failed.

    Attributes:
        why: for the operator; no foreign words, they may quote a prompt.
        waited_s: how long the attempt took.
        rest_s: the pause that the upstream asked for.
    """

    blame: Blame
    why: str
    waited_s: float = 0.0
    rest_s: float | None = None


@dataclass(slots=True)
class Rest:
    """Why and until when something is left alone.

    Attributes:
        until: of the clock that is handed in; from then on one request may probe.
        why: for the operator.
    """

    until: float
    why: str


@dataclass(slots=True)
class _Target:
    """How the latest attempts at a target went.

    Attributes:
        failed: when it failed since it last answered, the latest ones.
        avoided_until: the others come first until then.
    """

    failed: deque[float] = field(default_factory=lambda: deque(maxlen=FAILURES))
    avoided_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """Something began to rest, or is used again.

    Attributes:
        credential: its number in the file, from 1; None when there is none or all are meant.
        model: the upstream's own name; None when the credential rests for all of them.
        rests_s: for how long; None: it is used again.
    """

    upstream: str
    part: Part
    credential: int | None
    model: str | None
    why: str
    rests_s: float | None


class Health:
    """What is known of the ways to all models.

    Args:
        tell: is told what begins to rest and what is used again.
    """

    def __init__(self, tell: Callable[[Change], None] = lambda _: None) -> None:
        self._tell = tell
        # Known by names, not by identity: a reload that keeps an upstream keeps its rests.
        self._resting: dict[tuple[str, ...], Rest] = {}
        self._targets: dict[tuple[str, str], _Target] = {}
        self._running: dict[str, int] = {}

    # --- before an attempt --------------------------------------------------------

    def order(self, ways: Iterable[Way], now: float) -> list[Way]:
        """Return the ways with those behind that cost others a long wait lately."""
        found = list(ways)
        if len(found) > 1 and self._targets:
            found.sort(key=lambda way: self._avoided(way, now))
        return found

    def take(self, way: Way, now: float) -> bool:
        """Begin an attempt, unless the way rests or its upstream has enough to do.

        Whoever takes a way ends it by ``end``. Of several that come when a rest is over
        the first is the probe.
        """
        upstream = way.target.upstream
        running = self._running.get(upstream.name, 0)
        if upstream.max_concurrent is not None and running >= upstream.max_concurrent:
            return False
        if self._resting:
            rests = [rest for _, _, rest in self._rests(way)]
            if any(now < rest.until for rest in rests):
                return False
            for rest in rests:
                rest.until = now + PROBE_S
        self._running[upstream.name] = running + 1
        return True

    def end(self, way: Way) -> None:
        """An attempt is over, however it ended."""
        self._running[way.target.upstream.name] -= 1

    def refusal(self, ways: Iterable[Way], model: str, now: float) -> Overloaded:
        """Return the error of a model to which no way is open."""
        waits = [self._wait(way, now) for way in ways]
        wait = min(waits, default=SHORTEST_PAUSE_S)
        seconds = min(max(math.ceil(wait), 1), _LONGEST_HINT_S)
        how = "have as many requests as they may" if wait <= 0 else "are resting after failures"
        text = f"All upstreams of {model} {how}; try again in {seconds:g} s."
        return Overloaded(text, retry_after_s=seconds)

    # --- after an attempt ---------------------------------------------------------

    def answered(self, way: Way) -> None:
        """An answer came, or the upstream judged the request: it works."""
        if self._targets:
            self._targets.pop(_target(way), None)
        if self._resting:
            for part, key, rest in self._rests(way):
                del self._resting[key]
                self._tell(_change(way, part, rest.why, None))

    def failed(self, way: Way, failure: Failed, now: float) -> None:
        """An attempt failed, and it was not the request's fault."""
        if failure.blame in _REFUSED:
            self._rest(way, _REFUSED[failure.blame], REFUSED_S, failure.why, now)
            return
        known = self._targets.setdefault(_target(way), _Target())
        known.failed.append(now)
        if failure.waited_s >= SLOW_S:
            known.avoided_until = now + AVOIDED_S
        if failure.blame in _PAUSED and failure.rest_s is not None:
            seconds = min(max(failure.rest_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
            self._rest(way, _PAUSED[failure.blame], seconds, failure.why, now)
        elif _row(known, now) or _key(way, "target") in self._resting:
            self._rest(way, "target", PROBE_S, failure.why, now)

    def _rest(self, way: Way, part: Part, seconds: float, why: str, now: float) -> None:
        key = _key(way, part)
        known = self._resting.get(key)
        if known is None:
            self._tell(_change(way, part, why, seconds))
        # A request that was sent before does not shorten what is known since.
        until = max(now + seconds, known.until if known else 0.0)
        self._resting[key] = Rest(until, why)

    def keep(self, catalog: Catalog) -> None:
        """Forget what a reloaded configuration has no more."""
        ways = [
            Way(target, key)
            for model in catalog.models.values()
            for target in model.targets
            for key in credentials(target.upstream)
        ]
        keys = {_key(way, part) for way in ways for part in _PARTS}
        targets = {_target(way) for way in ways}
        self._resting = {key: rest for key, rest in self._resting.items() if key in keys}
        self._targets = {key: each for key, each in self._targets.items() if key in targets}

    # --- what is shown ------------------------------------------------------------

    def resting(self, way: Way, now: float) -> list[tuple[Part, Rest]]:
        """Return what of a way rests now; what may be probed does no more."""
        return [(part, rest) for part, _, rest in self._rests(way) if now < rest.until]

    def running(self, upstream: Upstream) -> int:
        """Return how many requests run at an upstream."""
        return self._running.get(upstream.name, 0)

    def up(self, catalog: Catalog, now: float) -> dict[str, bool]:
        """Return of each upstream whether any way by it is open."""
        found = dict.fromkeys(catalog.upstreams, False)
        idle = dict.fromkeys(catalog.upstreams, True)
        for model in catalog.models.values():
            for target in model.targets:
                name = target.upstream.name
                idle[name] = False
                for key in credentials(target.upstream):
                    found[name] = found[name] or not self.resting(Way(target, key), now)
        return {name: up or idle[name] for name, up in found.items()}

    def facts(self, catalog: Catalog, now: float) -> list[dict[str, Any]]:
        """Return how each upstream is, as JSON values, without a secret."""
        up = self.up(catalog, now)
        return [
            {
                "name": upstream.name,
                "up": up[upstream.name],
                "running": self.running(upstream),
                "max_concurrent": upstream.max_concurrent,
                "resting": self._resting_facts(upstream, catalog, now),
            }
            for upstream in catalog.upstreams.values()
        ]

    def _resting_facts(
        self, upstream: Upstream, catalog: Catalog, now: float
    ) -> list[dict[str, Any]]:
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for model in catalog.models.values():
            for target in model.targets:
                if target.upstream.name != upstream.name:
                    continue
                for key in credentials(upstream):
                    way = Way(target, key)
                    for part, rest in self.resting(way, now):
                        change = _change(way, part, rest.why, rest.until - now)
                        found[_key(way, part)] = {
                            "credential": change.credential,
                            "model": change.model,
                            "why": rest.why,
                            "seconds": round(rest.until - now, 1),
                        }
        return list(found.values())

    # --- within -------------------------------------------------------------------

    def _rests(self, way: Way) -> Iterator[tuple[Part, tuple[str, ...], Rest]]:
        for part in _PARTS:
            key = _key(way, part)
            rest = self._resting.get(key)
            if rest is not None:
                yield part, key, rest

    def _wait(self, way: Way, now: float) -> float:
        """Return how long a way rests; 0.0: it does not."""
        return max((rest.until - now for _, rest in self.resting(way, now)), default=0.0)

    def _avoided(self, way: Way, now: float) -> bool:
        known = self._targets.get(_target(way))
        return known is not None and now < known.avoided_until


def _row(known: _Target, now: float) -> bool:
    return len(known.failed) == FAILURES and now - known.failed[0] <= WINDOW_S


def _target(way: Way) -> tuple[str, str]:
    return way.target.upstream.name, way.target.model


def _key(way: Way, part: Part) -> tuple[str, ...]:
    name, model, key = way.target.upstream.name, way.target.model, way.key or ""
    if part == "credential":
        return part, name, key
    if part == "access":
        return part, name, key, model
    return part, name, model


def _change(way: Way, part: Part, why: str, rests_s: float | None) -> Change:
    upstream, key = way.target.upstream, way.key
    one = key is not None and part != "target" and key in upstream.api_keys
    return Change(
        upstream=upstream.name,
        part=part,
        credential=upstream.api_keys.index(key) + 1 if one and key is not None else None,
        model=None if part == "credential" else way.target.model,
        why=why,
        rests_s=rests_s,
    )
