"""Which credentials and targets are resting, and the one real request that probes each.

A way to a model is a target and one of its upstream's credentials. Three things can rest: the
credential, the credential for this target alone, and the target.

    works --> rests: the vendor refused the credential, asked for a pause, or failed
        ``FAILURES`` times in a row within ``WINDOW_S``
    rests --> rests: its time is over, one request passes as the probe and the others stay
        away for ``PROBE_S`` more; or the probe failed
    rests --> works: an answer came to what was asked since it rests

What one account alone met may be about its requests (a prompt that the vendor's filter refuses,
a schema that its server fails on): that lets a way rest for this account, and for all of them
when another one meets the same.

Nothing runs by itself: time is handed in, and a rest that is over shows when it is looked at.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
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
# So many failures of a row have to be others' before it is more than one account's.
_OTHERS: Final = 3

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
        account: whose request it was.
    """

    blame: Blame
    why: str
    waited_s: float = 0.0
    rest_s: float | None = None
    account: int = 0


@dataclass(slots=True)
class Rest:
    """Why and until when something is left alone.

    Attributes:
        until: of the clock that is handed in; from then on one request may probe.
        why: for the operator.
        since: when it began, or was found to go on.
        account: for whom alone; None: for all.
        probed_at: when the latest probe was let through.
    """

    until: float
    why: str
    since: float
    account: int | None = None
    probed_at: float | None = None

    def is_for(self, account: int | None) -> bool:
        """Return whether an account's requests stay away; None asks for any account."""
        return account is None or self.account in (None, account)


@dataclass(slots=True)
class _Target:
    """How the latest attempts at a target went.

    Attributes:
        failed: when, and for whom, it failed since it last answered, the latest ones.
        avoided_until: the others come first until then.
    """

    failed: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=FAILURES))
    avoided_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """Something began to rest, or is used again.

    Attributes:
        credential: its number in the file, from 1; None when there is none or all are meant.
        model: the upstream's own name; None when the credential rests for all of them.
        rests_s: for how long; None: it is used again.
        account: for whom alone; None: for all.
    """

    upstream: str
    part: Part
    credential: int | None
    model: str | None
    why: str
    rests_s: float | None
    account: int | None = None


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

    def take(self, way: Way, now: float, account: int = 0, *, may_probe: bool = True) -> bool:
        """Begin an attempt, unless the way rests or its upstream has enough to do.

        Whoever takes a way ends it by ``end``. Of several that come when a rest is over
        the first is the probe.

        Args:
            account: whose request it is.
            may_probe: False: only a way of which nothing bad is known.
        """
        upstream = way.target.upstream
        running = self._running.get(upstream.name, 0)
        if upstream.max_concurrent is not None and running >= upstream.max_concurrent:
            return False
        if self._resting:
            rests = [rest for _, _, rest in self._rests(way) if rest.is_for(account)]
            if (rests and not may_probe) or any(now < rest.until for rest in rests):
                return False
            for rest in rests:
                rest.until, rest.probed_at = now + PROBE_S, now
        self._running[upstream.name] = running + 1
        return True

    def end(self, way: Way) -> None:
        """An attempt is over, however it ended."""
        self._running[way.target.upstream.name] -= 1

    def unproven(self, way: Way, begun: float) -> None:
        """An attempt ended without a word about the way: the next request is its probe.

        Args:
            begun: when it was taken.
        """
        if self._resting:
            for _, _, rest in self._rests(way):
                if rest.probed_at == begun and rest.until == begun + PROBE_S:
                    rest.until = begun

    def refusal(
        self, ways: Iterable[Way], model: str, now: float, account: int | None = None
    ) -> Overloaded:
        """Return the error of a model to which no way is open.

        Args:
            account: for whom; None: rests of any account count.
        """
        waits = [self._wait(way, now, account) for way in ways]
        wait = min(waits, default=SHORTEST_PAUSE_S)
        seconds = min(max(math.ceil(wait), 1), _LONGEST_HINT_S)
        how = "have as many requests as they may" if wait <= 0 else "are resting after failures"
        text = f"All upstreams of {model} {how}; try again in {seconds:g} s."
        return Overloaded(text, retry_after_s=seconds)

    # --- after an attempt ---------------------------------------------------------

    def answered(self, way: Way, begun: float) -> None:
        """An answer came, or the upstream judged the request: it works.

        Args:
            begun: when that was asked. What began to rest later rests on: of a refused
                credential, or a pause that the vendor asked for, an older answer knows nothing.
        """
        if self._targets:
            self._targets.pop(_target(way), None)
        if self._resting:
            for part, key, rest in list(self._rests(way)):
                if rest.since <= begun:
                    del self._resting[key]
                    self._tell(_change(way, part, rest, None))

    def failed(self, way: Way, failure: Failed, now: float) -> None:
        """An attempt failed, and it was not the request's fault."""
        if failure.blame in _REFUSED:
            # A model may be closed to one prompt or file (403, 404), a credential is so for all.
            account = failure.account if failure.blame == "access" else None
            self._rest(
                way, _REFUSED[failure.blame], Rest(now + REFUSED_S, failure.why, now, account)
            )
            return
        known = self._targets.setdefault(_target(way), _Target())
        known.failed.append((now, failure.account))
        if failure.waited_s >= SLOW_S:
            known.avoided_until = now + AVOIDED_S
        if failure.blame in _PAUSED and failure.rest_s is not None:
            seconds = min(max(failure.rest_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
            self._rest(way, _PAUSED[failure.blame], Rest(now + seconds, failure.why, now))
            return
        resting = self._resting.get(_key(way, "target"))
        if resting is not None and resting.is_for(failure.account):
            # What was asked before it rested failed before, too: it is no failed probe.
            if now - failure.waited_s >= resting.since:
                self._rest(way, "target", Rest(now + PROBE_S, failure.why, now, failure.account))
        elif _row(known, now):
            self._rest(way, "target", Rest(now + PROBE_S, failure.why, now, _whose(known)))

    def _rest(self, way: Way, part: Part, rest: Rest) -> None:
        key = _key(way, part)
        known = self._resting.get(key)
        if known is not None and (known.account is None or rest.since < known.until):
            # A request that was sent before does not shorten what is known since.
            rest.until = max(rest.until, known.until)
            if known.account != rest.account:
                rest.account = None
        if known is None or known.account != rest.account:
            self._tell(_change(way, part, rest, rest.until - rest.since))
        self._resting[key] = rest

    def keep(self, catalog: Catalog, before: Catalog | None = None) -> None:
        """Forget what a reloaded configuration has no more, or has changed.

        Args:
            before: the one until now. An upstream that is another now (its address, its
                headers) has shown nothing yet.
        """
        old = before.upstreams if before is not None else catalog.upstreams
        ways = [
            Way(target, key)
            for model in catalog.models.values()
            for target in model.targets
            for key in credentials(target.upstream)
            if _is_same(target.upstream, old.get(target.upstream.name))
        ]
        keys = {_key(way, part) for way in ways for part in _PARTS}
        targets = {_target(way) for way in ways}
        self._resting = {key: rest for key, rest in self._resting.items() if key in keys}
        self._targets = {key: each for key, each in self._targets.items() if key in targets}

    # --- what is shown ------------------------------------------------------------

    def resting(self, way: Way, now: float, account: int | None = None) -> list[tuple[Part, Rest]]:
        """Return what of a way rests now; what may be probed does no more.

        Args:
            account: for whom; None: for any.
        """
        rests = ((part, rest) for part, _, rest in self._rests(way) if rest.is_for(account))
        return [(part, rest) for part, rest in rests if now < rest.until]

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
                        change = _change(way, part, rest, rest.until - now)
                        found[_key(way, part)] = {
                            "credential": change.credential,
                            "model": change.model,
                            "why": rest.why,
                            "seconds": round(rest.until - now, 1),
                            "account": rest.account,
                        }
        return list(found.values())

    # --- within -------------------------------------------------------------------

    def _rests(self, way: Way) -> Iterator[tuple[Part, tuple[str, ...], Rest]]:
        for part in _PARTS:
            key = _key(way, part)
            rest = self._resting.get(key)
            if rest is not None:
                yield part, key, rest

    def _wait(self, way: Way, now: float, account: int | None) -> float:
        """Return how long a way rests; 0.0: it does not."""
        rests = self.resting(way, now, account)
        return max((rest.until - now for _, rest in rests), default=0.0)

    def _avoided(self, way: Way, now: float) -> bool:
        known = self._targets.get(_target(way))
        return known is not None and now < known.avoided_until


def _row(known: _Target, now: float) -> bool:
    return len(known.failed) == FAILURES and now - known.failed[0][0] <= WINDOW_S


def _whose(known: _Target) -> int | None:
    """Return the account that a row of failures is about; None: it is about all."""
    ((account, times),) = Counter(each for _, each in known.failed).most_common(1)
    return account if times > FAILURES - _OTHERS else None


def _is_same(upstream: Upstream, before: Upstream | None) -> bool:
    """Return whether an upstream answers as it did, whatever its keys and its cap are now."""
    return before is not None and upstream == replace(
        before, api_keys=upstream.api_keys, max_concurrent=upstream.max_concurrent
    )


def _target(way: Way) -> tuple[str, str]:
    return way.target.upstream.name, way.target.model


def _key(way: Way, part: Part) -> tuple[str, ...]:
    name, model, key = way.target.upstream.name, way.target.model, way.key or ""
    if part == "credential":
        return part, name, key
    if part == "access":
        return part, name, key, model
    return part, name, model


def _change(way: Way, part: Part, rest: Rest, rests_s: float | None) -> Change:
    upstream, key = way.target.upstream, way.key
    one = key is not None and part != "target" and key in upstream.api_keys
    return Change(
        upstream=upstream.name,
        part=part,
        credential=upstream.api_keys.index(key) + 1 if one and key is not None else None,
        model=None if part == "credential" else way.target.model,
        why=rest.why,
        rests_s=rests_s,
        account=rest.account,
    )
