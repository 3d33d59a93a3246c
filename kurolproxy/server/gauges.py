"""What is read from the long-lived objects when somebody scrapes."""

from __future__ import annotations

from kurolproxy.server.lag import LoopLag
from kurolproxy.server.state import State


def register(state: State, lag: LoopLag) -> None:
    """Add the gauges of a gateway to its metrics."""
    state.metrics.each_upstream = lambda: state.health.up(state.setup.catalog, state.clock.now())
    _ledger(state)
    _calls(state)
    _process(state, lag)


def _ledger(state: State) -> None:
    gauge = state.metrics.gauge
    gauge(
        "kurol_ledger_pending_rows",
        "Usage rows not yet in SQLite.",
        lambda: state.usage.pending,
    )
    gauge(
        "kurol_ledger_oldest_pending_seconds",
        "Age of the oldest of them.",
        lambda: state.usage.oldest_pending_s,
    )
    gauge(
        "kurol_ledger_writable",
        "1 while the ledger can be written.",
        lambda: float(state.usage.writable),
    )
    gauge(
        "kurol_wal_bytes",
        "Length of SQLite's write-ahead log.",
        lambda: state.usage.wal_bytes,
    )
    state.metrics.counter(
        "kurol_journal_damaged_records",
        "Lines of the journal that could not be read.",
        lambda: state.usage.damaged,
    )


def _calls(state: State) -> None:
    gauge = state.metrics.gauge
    gauge(
        "kurol_reserved_tokens",
        "Tokens held by running calls.",
        lambda: state.admission.reserved,
    )
    gauge(
        "kurol_requests_running",
        "Calls that were admitted and run.",
        lambda: state.admission.running,
    )
    gauge(
        "kurol_body_bytes_in_flight",
        "Bytes of the request bodies that are held.",
        lambda: state.bodies.held,
    )


def _process(state: State, lag: LoopLag) -> None:
    gauge = state.metrics.gauge
    gauge(
        "kurol_event_loop_lag_seconds",
        "How late the event loop was at most, in the last 15 to 30 seconds.",
        lambda: lag.seconds,
    )
    gauge(
        "kurol_process_memory_limit_bytes",
        "What the control group lets the process take; 0: no limit is known.",
        lambda: state.memory.limit or 0,
    )
    gauge(
        "kurol_process_resident_bytes",
        "What of the process is in memory.",
        lambda: state.memory.resident(),
    )
    gauge(
        "kurol_memory_short",
        "1 while calls are refused because memory is short.",
        lambda: float(state.memory.short),
    )
    gauge(
        "kurol_descriptors_short",
        "1 while calls are refused because the last descriptors are kept for those that run.",
        lambda: float(state.descriptors.short),
    )
