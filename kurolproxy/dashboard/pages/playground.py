"""The playground: one prompt to any model of the plan, by any endpoint, without a key."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.web import StreamResponse

from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.snippets import ENDPOINTS
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
    """Send the body on as a call of the account: it is answered as the endpoint answers."""
    target = visit.query.get("endpoint", "")
    try:
        return await visit.desk.call(visit.request, visit.account, target)
    except RouteNotFound as error:
        raise PageError(404, "missing") from error


ROUTES: Final = (
    Route("GET", PATH, show),
    Route("POST", PATH + "/call", call, reads_body=True),
)
