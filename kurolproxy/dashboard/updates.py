"""What a viewer is told: where an account stands, what it runs, what ended. All from memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from kurolproxy.live import Finished, Live, Running
from kurolproxy.policy.admission import Admission, Caller
from kurolproxy.policy.keys import KeyTable, session_key

Facts = dict[str, Any]

MOST_RUNNING: Final = 50
"""So many running calls are told; how many there are is told beside them."""

# Protocol -> the path that it is called at, for one answer and for a stream.
_ENDPOINTS: Final[dict[str, tuple[str, str]]] = {
    "openai-chat": ("/v1/chat/completions",) * 2,
    "openai-responses": ("/v1/responses",) * 2,
    "anthropic": ("/v1/messages",) * 2,
    "gemini": ("/v1beta/…:generateContent", "/v1beta/…:streamGenerateContent"),
}


@dataclass(frozen=True, slots=True)
class Updates:
    """Reads from the gateway's memory what viewers are told.

    Attributes:
        now: seconds of a monotonic clock.
        unix: seconds since 1970.
        today: the day in UTC.
    """

    live: Live
    admission: Admission
    keys: KeyTable
    now: Callable[[], float]
    unix: Callable[[], float]
    today: Callable[[], date]

    def state(self, account_id: int | None) -> Facts:
        """Return how things stand now.

        Args:
            account_id: None: of all accounts; nobody's allowance is among it.
        """
        running, count = self.live.running(account_id, MOST_RUNNING)
        everybody = account_id is None
        return {
            **(self._sums() if account_id is None else self._standing(account_id)),
            "running": [self._running(each, named=everybody) for each in running],
            "running_total": count,
        }

    def since(self, account_id: int | None, after: int | None) -> Facts:
        """Return what ended after a number: ``seq``, ``finished``, ``missed``, and the time now.

        Args:
            after: None: all that is kept.
        """
        found = self.live.finished(account_id, after)
        named = account_id is None
        rows = [{"seq": seq, **self.row(each, named=named)} for seq, each in found.rows]
        now = round(self.unix(), 3)
        return {"seq": found.last, "now": now, "finished": rows, "missed": found.missed}

    def row(self, row: Finished, *, named: bool = False) -> Facts:
        """Return a call that ended.

        Args:
            named: say whose it is, and which upstream answered.
        """
        facts: Facts = {
            "id": row.request_id,
            "at": round(row.started_at, 3),
            "model": row.model,
            "endpoint": endpoint_of(row.client_protocol, streamed=row.streamed),
            "client": row.client,
            "key": row.key_id,
            "key_label": row.key_label,
            "status": row.status,
            "outcome": row.outcome,
            "prompt": row.prompt,
            "completion": row.completion,
            "cache_read": row.cache_read,
            "charged": row.charged,
            "ms": row.duration_ms,
            "ttft_ms": row.ttft_ms,
            "streamed": row.streamed,
        }
        if named:
            facts |= {**self._named(row.account_id), "upstream": row.upstream}
        return facts

    def _running(self, call: Running, *, named: bool) -> Facts:
        facts: Facts = {
            "id": call.request_id,
            "model": call.model,
            "endpoint": endpoint_of(call.client_protocol, streamed=call.streamed),
            "client": call.client,
            "key": call.key_id,
            "key_label": call.key_label,
            "started": round(call.started_at, 3),
            "prompt": call.prompt,
            "completion": call.completion,
        }
        return facts | self._named(call.account_id) if named else facts

    def _named(self, account_id: int) -> Facts:
        account = self.keys.account(account_id)
        return {"account_id": account_id, "account": account.email if account else ""}

    def _standing(self, account_id: int) -> Facts:
        account = self.keys.account(account_id)
        if account is None:
            return {}
        caller = Caller(session_key(account_id), account)
        found = self.admission.standing(caller, self.now(), self.today())
        return {
            "day": self.admission.day.isoformat(),
            "used": found.tokens_used,
            "reserved": found.tokens_reserved,
            "limit": found.tokens_limit,
            "resets_at": _moment(found.tokens_resets_at),
            "rpm_limit": found.requests_limit,
            "rpm_left": found.requests_remaining,
        }

    def _sums(self) -> Facts:
        return {"day": self.admission.day.isoformat(), "reserved": self.admission.reserved}


def endpoint_of(protocol: str, *, streamed: bool) -> str:
    """Return the path that a protocol is called at; an unknown one's name."""
    return _ENDPOINTS.get(protocol, (protocol, protocol))[streamed]


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
