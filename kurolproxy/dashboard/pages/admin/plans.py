"""Plans: what the configuration file says of each, and how many accounts have it."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.storage.account_list import PlanCount, accounts_by_plan

PATH: Final = "/dashboard/admin/plans"


async def show(visit: Visit) -> web.Response:
    """Show all plans, and those that accounts have and the file has not."""
    desk = visit.desk
    catalog = desk.catalog()
    counts = await accounts_by_plan(desk.database)
    lines = await desk.operation.configuration()
    places = {key: place for key, _, place in lines if key.startswith("plans.")}
    plans = [
        (
            plan,
            catalog.active(plan),
            counts.pop(plan.name, PlanCount(0, 0)),
            places.get(f"plans.{plan.name}.name", ""),
        )
        for plan in catalog.plans.values()
    ]
    return visit.render("admin/plans.html", plans=plans, lost=counts, file=desk.operation.file())


ROUTES: Final = (Route("GET", PATH, show, needs="admin"),)
