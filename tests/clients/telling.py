"""What a failed run tells."""

from __future__ import annotations

from tests.clients.conftest import Stage
from tests.clients.running import Ran


def told(stage: Stage, ran: Ran) -> str:
    """Return what a person needs to understand a failure."""
    asked = "\n".join(
        f"{[each.name for each in ask.tools]} {ask.turns[-1]}"[:2000] for ask in stage.script.asks
    )
    return f"{ran}\n--- the vendor was asked\n{asked}\n--- log\n{stage.gateway.lines()[-6000:]}"
