"""Keys of the account: make one, shown once; rename, rotate and revoke."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from kurolproxy.connect.calls import ENDPOINTS, Call, in_bash, in_powershell
from kurolproxy.dashboard import key_form
from kurolproxy.dashboard.key_form import KeyForm
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.policy.admission import Caller, Standing
from kurolproxy.policy.catalog import Model, Plan, matches
from kurolproxy.policy.keys import Key, state_of
from kurolproxy.storage.account_usage import used_keys
from kurolproxy.storage.errors import Conflict, Invalid, Limit, NotFound, StoreError
from kurolproxy.storage.key_list import KeyRow, keys_of, one_key_of, revoked_keys_of

PATH: Final = "/dashboard/keys"
USED_DAYS: Final = 30
"""How far back the list looks for the last use of a key."""
_REVOKED_SHOWN: Final = 50
_MOST_BOXES: Final = 100


# --- the list ---------------------------------------------------------------------------


async def show(visit: Visit) -> web.Response:
    """Show the keys of the account."""
    return await _page(visit, KeyForm())


async def create(visit: Visit) -> web.Response:
    """Make a key, and show its secret in this one answer."""
    desk, form = visit.desk, visit.form
    wish = key_form.read(form, plan_of(visit), models_of(visit), visit.gettext)
    if wish.wrong:
        return await _page(visit, wish, status=422)
    if not desk.once.take(form.get("once", ""), visit.token):
        return await _page(visit, wish, status=409, again=True)
    args = {"account_id": visit.account.id, **wish.args}
    try:
        made = await desk.people.call("keys.create", args, visit.own)
    except NotFound:
        raise
    except Limit:
        text = visit.gettext("An account may have %(most)d keys: revoke one first.")
        wish.wrong[""] = text % {"most": visit.site.max_keys}
    except StoreError as error:
        wish.wrong[error.field if error.field in key_form.FIELDS else ""] = visit.sentence(error)
    else:
        return await _page(visit, KeyForm(), made=made)
    return await _page(visit, wish, status=422)


async def _page(
    visit: Visit,
    form: KeyForm,
    *,
    status: int = 200,
    again: bool = False,
    made: dict[str, Any] | None = None,
) -> web.Response:
    """Return the list.

    Args:
        again: the form was sent before.
        made: what ``keys.create`` said just now.
    """
    desk, account = visit.desk, visit.account
    rows = await keys_of(desk.database, account.id)
    revoked = await revoked_keys_of(desk.database, account.id, _REVOKED_SHOWN + 1)
    today = desk.times.today()
    days = [today - timedelta(days=number) for number in range(USED_DAYS)]
    models = models_of(visit)
    return visit.render(
        "keys.html",
        status=status,
        rows=rows,
        revoked=revoked[:_REVOKED_SHOWN],
        revoked_more=len(revoked) > _REVOKED_SHOWN,
        used=await used_keys(desk.database, account.id, days),
        used_days=USED_DAYS,
        now=desk.times.unix(),
        state=lambda key: _state(visit, key),
        plan=plan_of(visit),
        models=models,
        boxes=models if len(models) <= _MOST_BOXES else [],
        picked_prefix=key_form.PICKED,
        form=form,
        once=desk.once.issue(visit.token),
        again=again,
        made=made,
        texts=None if made is None else _texts(visit, made),
    )


# --- one key ----------------------------------------------------------------------------


async def show_one(visit: Visit) -> web.Response:
    """Show one key of the account."""
    return await _one(visit)


async def rename(visit: Visit) -> web.Response:
    """Give a key another label."""
    label = visit.form.get("label", "")
    args = {"id": visit.params["id"], "label": label}
    try:
        await visit.desk.people.call("keys.rename", args, visit.own)
    except Invalid as error:
        return await _one(visit, status=422, label=label, wrong=visit.sentence(error))
    return visit.redirect(f"{PATH}/{visit.params['id']}", said="renamed")


async def rotate(visit: Visit) -> web.Response:
    """Give a key another secret, and show it in this one answer."""
    desk, id_ = visit.desk, visit.params["id"]
    await one_key_of(desk.database, visit.account.id, id_)
    if not desk.once.take(visit.form.get("once", ""), visit.token):
        return await _one(visit, status=409, again=True)
    try:
        made = await desk.people.call("keys.rotate", {"id": id_}, visit.own)
    except Conflict:
        return await _one(visit, status=409)
    ended = _end_calls(visit, id_)
    return await _one(visit, made=made, ended=ended)


async def revoke(visit: Visit) -> web.Response:
    """Make a key invalid for ever."""
    id_ = visit.params["id"]
    await visit.desk.people.call("keys.revoke", {"id": id_}, visit.own)
    ended = _end_calls(visit, id_)
    return visit.redirect(f"{PATH}/{id_}", said="revoked", ended=str(ended))


def _end_calls(visit: Visit, key_id: str) -> int:
    """End the running calls of a key where that was asked for; return how many."""
    return visit.desk.end_calls(key_id) if visit.form.get("end") == "on" else 0


async def _one(
    visit: Visit,
    *,
    status: int = 200,
    label: str | None = None,
    wrong: str = "",
    again: bool = False,
    made: dict[str, Any] | None = None,
    ended: int = 0,
) -> web.Response:
    desk, account = visit.desk, visit.account
    row = await one_key_of(desk.database, account.id, visit.params["id"])
    today = desk.times.today()
    days = [today - timedelta(days=number) for number in range(USED_DAYS)]
    used = await used_keys(desk.database, account.id, days)
    return visit.render(
        "key.html",
        status=status,
        row=row,
        state=_state(visit, row.key),
        use=used.get(row.key.id),
        used_days=USED_DAYS,
        now=desk.times.unix(),
        standing=_standing(visit, row),
        said=visit.query.get("said", ""),
        label=row.key.label if label is None else label,
        wrong=wrong,
        again=again,
        once=desk.once.issue(visit.token),
        made=made,
        ended=ended or _count(visit.query.get("ended", "")),
        texts=None if made is None else _texts(visit, made),
    )


def _standing(visit: Visit, row: KeyRow) -> Standing | None:
    """Return where a key stands today that has limits of its own; None: it has none."""
    found = visit.desk.keys.current(row.key)
    if found is None or not row.key.narrows_limits:
        return None
    desk = visit.desk
    caller = Caller(row.key, visit.account)
    return desk.admission.standing(caller, desk.times.now(), desk.times.today())


# --- what both need ---------------------------------------------------------------------


def plan_of(visit: Visit) -> Plan | None:
    """Return the plan of who is logged in; None: the configuration has it no more."""
    return visit.desk.catalog().plans.get(visit.account.plan)


def models_of(visit: Visit) -> list[Model]:
    """Return the models that who is logged in may call."""
    plan = plan_of(visit)
    return [] if plan is None else visit.desk.catalog().active(plan)


def _state(visit: Visit, key: Key) -> str:
    return state_of(key, visit.account, visit.desk.times.unix())


def _texts(visit: Visit, made: dict[str, Any]) -> dict[str, str] | None:
    """Return commands that call a model with a new key; None: there is no model for it."""
    patterns = made["models"]
    models = [
        each.id for each in models_of(visit) if patterns is None or matches(patterns, each.id)
    ]
    if made["admin"] or not models:
        return None
    call = Call(visit.site.public_url, models[0], ENDPOINTS["openai-chat"], made["key"])
    return {"curl": in_bash(call), "powershell": in_powershell(call)}


def _count(text: str) -> int:
    return int(text) if len(text) < 6 and text.isascii() and text.isdigit() else 0


ROUTES: Final = (
    Route("GET", PATH, show),
    Route("POST", PATH, create),
    Route("GET", PATH + "/{id}", show_one),
    Route("POST", PATH + "/{id}/rename", rename),
    Route("POST", PATH + "/{id}/rotate", rotate),
    Route("POST", PATH + "/{id}/revoke", revoke),
)
