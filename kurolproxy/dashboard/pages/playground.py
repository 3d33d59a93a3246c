"""The playground: one prompt to any model of the plan, by any endpoint, without a key."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web
from aiohttp.web import StreamResponse

from kurolproxy.connect.calls import ENDPOINTS
from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.errors import RouteNotFound

PATH: Final = "/dashboard/playground"


async def show(visit: Visit) -> web.Response:
    """Show the form; the script of the page makes requests of it."""
    catalog = visit.desk.catalog()
    plan = catalog.plans.get(visit.account.plan)
    models = [each.id for each in catalog.active(plan)] if plan is not None else []
    asked = visit.query.get("model", "")
    found = catalog.find(asked)
    chosen = found.id if found is not None and found.id in models else "".join(models[:1])
    endpoint = ENDPOINTS.get(visit.query.get("endpoint", ""), ENDPOINTS["openai-chat"])
    return visit.render(
        "playground.html",
        models=models,
        chosen=chosen,
        endpoints=list(ENDPOINTS.values()),
        endpoint=endpoint,
    )


async def call(visit: Visit) -> StreamResponse:
    """Send the body on as a call of the account: it is answered as the endpoint answers.

    The session stands for a key: when somebody ends it, this call ends with it, be its body
    still coming or its answer.
    """
    target, session, task = visit.query.get("endpoint", ""), visit.session, asyncio.current_task()
    assert session is not None
    assert task is not None
    leave = visit.desk.sessions.watch(session, lambda: _end(task))
    try:
        return await visit.desk.call(visit.request, visit.account, target)
    except RouteNotFound as error:
        raise PageError(404, "missing") from error
    finally:
        leave()


def _end(call: asyncio.Task[Any]) -> None:
    # As when the browser goes away: what was answered is charged, the connection is closed.
    call.cancel()


ROUTES: Final = (
    Route("GET", PATH, show),
    Route("POST", PATH + "/call", call, reads_body=True),
)
