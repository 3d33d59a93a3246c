"""From a method and a path to a page, for whoever may see it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from gettext import NullTranslations
from math import ceil
from typing import Final, Literal
from urllib.parse import quote, unquote

from aiohttp import web
from aiohttp.web import BaseRequest, StreamResponse

from kurolproxy.dashboard import answers, guard
from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.assets import PREFIX, Assets
from kurolproxy.dashboard.desk import Desk
from kurolproxy.dashboard.rendering import Renderer
from kurolproxy.dashboard.visit import Visit
from kurolproxy.storage.errors import NotFound, StorageError

Page = Callable[[Visit], Awaitable[StreamResponse]]
Needs = Literal["nobody", "account", "admin"]

LOGIN: Final = "/dashboard/login"


@dataclass(frozen=True, slots=True)
class Route:
    """A page.

    Attributes:
        path: with ``{name}`` for a part of it that may be anything.
        needs: who may see it.
        reads_body: the page reads the body of a POST itself; the token comes in a header.
        quiet: it is asked by a page, not by a person: the session does not count as used.
        always: served also when the dashboard is switched off.
    """

    method: Literal["GET", "POST"]
    path: str
    page: Page
    needs: Needs = "account"
    reads_body: bool = False
    quiet: bool = False
    always: bool = False


class Router:
    """Serves the pages.

    Args:
        routes: of all pages; no two have the same method and path.
        translations: the texts in another language; None: as they are written.
    """

    def __init__(
        self,
        desk: Desk,
        routes: Iterable[Route],
        translations: NullTranslations | None = None,
    ) -> None:
        self._desk = desk
        self._assets = Assets()
        self._renderer = Renderer(self._assets, translations)
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[list[str], dict[str, Route]]] = []
        for route in routes:
            self._methods(route.path)[route.method] = route

    def _methods(self, path: str) -> dict[str, Route]:
        if "{" not in path:
            return self._exact.setdefault(path, {})
        parts = path.split("/")
        for known, found in self._patterns:
            if known == parts:
                return found
        methods: dict[str, Route] = {}
        self._patterns.append((parts, methods))
        return methods

    async def dispatch(self, request: BaseRequest) -> StreamResponse:
        """Answer one request."""
        desk = self._desk
        began = desk.times.now()
        visit = Visit(desk, self._renderer, request, guard.token_of(request, desk.site()))
        try:
            response = await self._answer(visit)
        except PageError as error:
            response = self._refuse(visit, error)
        except NotFound:
            response = self._refuse(visit, PageError(404, "missing"))
        except StorageError as error:
            logging.getLogger(__name__).warning("a page cannot be shown: %s", error)
            response = self._refuse(visit, PageError(503, "storage", retry_after_s=5.0))
        if not response.prepared:
            answers.guard(response)
            guard.harden(response, visit.site)
            answers.pack(request, response)
        who = visit.account.id if visit.known else None
        desk.book(request, visit.route, response.status, desk.times.now() - began, who)
        return response

    async def _answer(self, visit: Visit) -> StreamResponse:
        request, path = visit.request, visit.request.path
        if path.startswith(PREFIX):
            return self._static(visit, path[len(PREFIX) :])
        methods, visit.params = self._find(path)
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if not methods or (not self._desk.site().enabled and not _always(methods)):
            raise PageError(404, "missing")
        if route is None:
            raise PageError(405, "method")
        visit.route = route.path
        if not route.always:
            guard.check_host(request, visit.site)
        if guard.left_cookies_behind(request, visit.token):
            return visit.render("bounce.html", target=request.path_qs)
        self._recognise(visit, route)
        if request.method == "POST":
            await self._check_sender(visit, route)
            # The form may have taken seconds: who was an admin need not be one any more.
            self._recognise(visit, route)
        return await route.page(visit)

    def _static(self, visit: Visit, path: str) -> StreamResponse:
        visit.route = PREFIX
        if visit.request.method not in ("GET", "HEAD"):
            raise PageError(405, "method")
        found = self._assets.answer(visit.request, path)
        if found is None:
            raise PageError(404, "missing")
        return found

    def _find(self, path: str) -> tuple[dict[str, Route], dict[str, str]]:
        exact = self._exact.get(path) or self._exact.get(path.rstrip("/"))
        if exact is not None:
            return exact, {}
        parts = path.split("/")
        for pattern, methods in self._patterns:
            params = _match(pattern, parts)
            if params is not None:
                return methods, params
        return {}, {}

    def _recognise(self, visit: Visit, route: Route) -> None:
        """Find out who is logged in, and whether he may see the page.

        Raises:
            PageError: he may not; "login" sends him to log in.
        """
        desk = self._desk
        unix = desk.times.unix()
        visit.leave()
        session = desk.sessions.find(visit.token, unix) if visit.token else None
        account = desk.keys.account(session.account_id) if session is not None else None
        if session is not None and account is not None and account.active:
            visit.enter(session if route.quiet else desk.sessions.seen(session, unix), account)
        if route.needs == "nobody":
            return
        if not visit.known:
            raise PageError(401, "login")
        if route.needs == "admin" and visit.account.role != "admin":
            raise PageError(403, "admin")

    async def _check_sender(self, visit: Visit, route: Route) -> None:
        guard.check_origin(visit.request, visit.site)
        if route.reads_body:
            guard.check_csrf(visit.token, visit.request.headers.get("x-csrf-token", ""))
            return
        await visit.read_form()
        guard.check_csrf(visit.token, visit.form.get("csrf", ""))

    def _refuse(self, visit: Visit, error: PageError) -> web.Response:
        if error.code == "login" and visit.request.method in ("GET", "HEAD"):
            return _to_login(visit)
        if error.code == "cookie":
            return visit.without_cookies()
        response = visit.render("error.html", status=error.status, code=error.code)
        if error.retry_after_s is not None:
            response.headers["retry-after"] = str(ceil(error.retry_after_s))
        return response


def _to_login(visit: Visit) -> web.Response:
    """Send the browser to log in, and back to where it wanted to go."""
    target = f"{LOGIN}?next={quote(visit.request.path_qs, safe='')}"
    if not visit.partial:
        return answers.redirect(target)
    # htmx would put the login page into the middle of this one.
    return web.Response(status=401, headers={"hx-redirect": target})


def _match(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    params: dict[str, str] = {}
    for wanted, given in zip(pattern, parts, strict=True):
        if wanted.startswith("{"):
            params[wanted[1:-1]] = unquote(given)
        elif wanted != given:
            return None
    return params


def _always(methods: dict[str, Route]) -> bool:
    return any(each.always for each in methods.values())
