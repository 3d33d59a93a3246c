"""Who may use the pages of admins: admins, and nobody else, by no way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.routes import ROUTES
from tests.conftest import Running, new_key
from tests.dashboard.conftest import Browser, LogIn, Page

BELOW = "/dashboard/admin/"
ADMIN = [each for each in ROUTES if each.path.startswith(BELOW)]
NO_ID = {"{id}": "999999", "{key}": "key_000000000000"}
Visitor = Callable[[Running], Browser]


def address(route: Route) -> str:
    """Return a path of a route; of ids those that nothing has."""
    path = route.path
    for name, value in NO_ID.items():
        path = path.replace(name, value)
    assert "{" not in path
    return path


async def sent(browser: Browser, route: Route, **headers: str) -> Page:
    """Ask for a route as a page of the dashboard would."""
    send = browser.get if route.method == "GET" else browser.post
    return await send(address(route), **headers)


async def statuses(ask: Callable[[Route], Awaitable[Page]]) -> dict[str, tuple[int, str]]:
    """Return what each route of admins answers: its status, and where it leads."""
    found = {}
    for route in ADMIN:
        page = await ask(route)
        found[f"{route.method} {route.path}"] = (page.status, page.headers.get("location", ""))
    return found


def test_exactly_the_routes_below_admin_are_for_admins() -> None:
    assert len(ADMIN) > 20
    assert {each.path for each in ROUTES if each.needs == "admin"} == {each.path for each in ADMIN}
    assert {each.needs for each in ADMIN} == {"admin"}


async def test_every_admin_route_refuses_users(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    found = await statuses(lambda route: sent(browser, route))
    assert found == dict.fromkeys(found, (403, ""))


async def test_every_admin_route_refuses_who_was_an_admin_a_moment_ago(
    gateway: Running, log_in: LogIn
) -> None:
    await log_in(gateway, "root@example.org", role="admin")
    browser = await log_in(gateway, "ann@example.org", role="admin")
    assert (await browser.get("/dashboard/admin/plans")).status == 200
    await gateway.gateway._people.call(
        "users.set_role", {"email": "ann@example.org", "role": "user"}
    )
    found = await statuses(lambda route: sent(browser, route))
    assert found == dict.fromkeys(found, (403, ""))


async def test_every_admin_route_refuses_strangers_and_keys(
    gateway: Running, anonymous: Visitor, log_in: LogIn
) -> None:
    await log_in(gateway, "root@example.org", role="admin")
    managing = await new_key(gateway.gateway, "root@example.org", "default", admin=True)
    made_up = anonymous(gateway)
    made_up.token = "x" * 43
    callers: dict[str, tuple[Browser, dict[str, str]]] = {
        "nobody": (anonymous(gateway), {}),
        "a key": (anonymous(gateway), {"authorization": f"Bearer {gateway.key}"}),
        "a key elsewhere": (anonymous(gateway), {"x-api-key": gateway.key}),
        "a management key": (anonymous(gateway), {"authorization": f"Bearer {managing}"}),
        "a made-up session": (made_up, {}),
    }
    for who, (browser, headers) in callers.items():
        for name, (status, location) in (
            await statuses(lambda route, b=browser, h=headers: sent(b, route, **h))
        ).items():
            expected = (303, "/dashboard/login") if name.startswith("GET") else (401, "")
            assert (status, location.partition("?")[0]) == expected, (who, name)


async def test_every_post_about_something_that_is_not_there_is_a_404(
    gateway: Running, log_in: LogIn
) -> None:
    browser = await log_in(gateway, "root@example.org", role="admin")
    about = [each for each in ADMIN if each.method == "POST" and "{" in each.path]
    assert len(about) > 7
    found = {each.path: (await sent(browser, each)).status for each in about}
    assert found == dict.fromkeys(found, 404)


async def test_account_of_no_number_is_a_404(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway, "root@example.org", role="admin")
    for id_ in ("0", "-1", "x", "1e3", "9" * 30, "٣", "%20", "..%2f1"):
        assert (await browser.get(f"/dashboard/admin/accounts/{id_}")).status == 404, id_
        assert (await browser.post(f"/dashboard/admin/accounts/{id_}/disable")).status == 404, id_


async def test_no_get_of_an_admin_changes_anything(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway, "root@example.org", role="admin")
    accounts = gateway.gateway.accounts
    before = (await accounts.list_accounts(), await accounts.list_audit())
    for route in ADMIN:
        if "/live" not in route.path:
            await browser.get(address(route))
    assert (await accounts.list_accounts(), await accounts.list_audit()) == before


ESCAPES = [
    ("/dashboard/account/name", {"name": "Ann"}),
    ("/dashboard/keys", {"label": "laptop"}),
    ("/dashboard/account/theme", {"theme": "dark"}),
]
WIDER = {"role": "admin", "Role": "admin", "plan": "large", "account_id": "1", "active": "on"}


async def test_user_changes_nothing_of_his_role_and_plan_by_fields_of_other_forms(
    gateway: Running, log_in: LogIn
) -> None:
    browser = await log_in(gateway)
    for path, fields in ESCAPES:
        assert (await browser.post(path, {**fields, **WIDER})).status in (303, 409), path
    found = await gateway.gateway.accounts.get_account("ann@example.org")
    assert (found.role, found.plan, found.active) == ("user", "default", True)
    others = await gateway.gateway.accounts.list_keys("someone@example.org")
    assert len(others) == 1


async def test_changes_of_the_dashboard_have_an_audit_row_of_who_made_them(
    gateway: Running, log_in: LogIn
) -> None:
    root = await log_in(gateway, "root@example.org", role="admin")
    ann = await log_in(gateway)
    assert ann.account is not None
    at = f"/dashboard/admin/accounts/{ann.account.id}"
    listed = await ann.get("/dashboard/keys")
    once = listed.text.partition('name="once" value="')[2].partition('"')[0]
    await ann.post("/dashboard/keys", {"label": "laptop", "once": once})
    [key] = await gateway.gateway.accounts.list_keys("ann@example.org")
    await ann.post(f"/dashboard/keys/{key.id}/rename", {"label": "desk"})
    await ann.post("/dashboard/account/name", {"name": "Ann"})
    await root.post(f"{at}/change", {"role": "admin", "name": "Ann"})
    await root.post(f"{at}/password-link")
    await root.post(f"{at}/keys/{key.id}/revoke")
    await root.post(f"{at}/disable")
    await root.post(f"{at}/enable")
    await root.post(f"{at}/end-sessions")
    await root.post(f"{at}/delete", {"email": "ann@example.org"})
    trail = [(each.actor, each.action) for each in await gateway.gateway.accounts.list_audit()]
    assert trail[:10] == [
        ("root@example.org", "account.delete"),
        ("root@example.org", "account.end-sessions"),
        ("root@example.org", "account.enable"),
        ("root@example.org", "account.disable"),
        ("root@example.org", "key.revoke"),
        ("root@example.org", "link.create"),
        ("root@example.org", "account.set-role"),
        ("ann@example.org", "account.rename"),
        ("ann@example.org", "key.rename"),
        ("ann@example.org", "key.create"),
    ]
