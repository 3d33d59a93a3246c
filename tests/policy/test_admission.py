"""Who is let in: the questions in order, and what each caller reads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kurolproxy.errors import ConcurrencyLimited, ModelNotFound, PlanForbidden, Unauthenticated
from kurolproxy.policy.admission import charge
from kurolproxy.policy.catalog import Model, Plan
from kurolproxy.policy.keys import Account, Key, digest
from kurolproxy.tokens import Usage
from tests.policy.world import CONTACT, HIDDEN, MODEL, NOW, TODAY, TOMORROW, UNIX_NOW, World

# --- 401 ------------------------------------------------------------------------------


def test_valid_key_is_its_accounts() -> None:
    world = World()
    caller = world.caller()
    assert (caller.key.id, caller.account) == ("k-s1", world.account)


@pytest.mark.parametrize("secret", [None, ""])
def test_missing_key_says_where_to_put_one(secret: str | None) -> None:
    with pytest.raises(Unauthenticated, match="x-goog-api-key") as caught:
        World().admission.authenticate(secret, UNIX_NOW)
    assert caught.value.may_retry is False


def invalid_texts() -> dict[str, str]:
    world = World()
    for secret, fields in {
        "revoked": {"revoked": True},
        "expired": {"expires_at": UNIX_NOW},
        "disabled": {},
    }.items():
        key = Key(f"k-{secret}", 1, "", digest(secret), "p", "l", **fields)  # type: ignore[arg-type]
        active = secret != "disabled"
        world.keys.put(key, Account(1, "ann@example.org", "Ann", "user", "team", active=active))
    texts = {}
    for secret in ("unknown", "revoked", "expired", "disabled"):
        with pytest.raises(Unauthenticated) as caught:
            world.admission.authenticate(secret, UNIX_NOW)
        texts[secret] = caught.value.message
    return texts


def test_invalid_keys_are_told_the_same_whatever_is_wrong() -> None:
    assert len(set(invalid_texts().values())) == 1


def test_key_is_valid_until_the_moment_it_expires() -> None:
    world = World()
    world.caller("k", expires_at=UNIX_NOW + 0.001)
    with pytest.raises(Unauthenticated):
        world.admission.authenticate("k", UNIX_NOW + 0.001)


def test_management_key_cannot_call_models() -> None:
    with pytest.raises(Unauthenticated, match="management key"):
        World().caller("s", admin=True)


@pytest.mark.parametrize("change", ["remove", "revoke", "disable", "rotate", "delete"])
def test_call_whose_key_goes_while_its_body_is_read_is_not_admitted(change: str) -> None:
    world = World()
    caller = world.caller()
    key = caller.key
    changes = {
        "remove": lambda: world.keys.remove(key.id),
        "revoke": lambda: world.caller("s1", revoked=True),
        "disable": lambda: world.keys.put_account(
            Account(1, "ann@example.org", "Ann", "user", "team", active=False)
        ),
        "rotate": lambda: world.keys.put(
            Key(key.id, 1, "", digest("new"), "p", "l"), world.account
        ),
        "delete": lambda: world.keys.remove_account(1),
    }
    if change == "revoke":
        with pytest.raises(Unauthenticated):
            changes[change]()
    else:
        changes[change]()
    world.refused(Unauthenticated, caller)
    with pytest.raises(Unauthenticated):
        world.admission.admit_count(caller, NOW, TODAY)


# --- 404 and 403 ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt-4o", "fast"])
def test_model_is_found_by_id_and_alias_each_time(name: str) -> None:
    world = World()
    caller = world.caller()
    assert [world.admission.model(caller, name) for _ in range(3)] == [MODEL] * 3


@pytest.mark.parametrize("name", ["nope", "GPT-4o", "gpt-4o ", "gpt-4о", "", "gpt-*"])
def test_unknown_model_is_404(name: str) -> None:
    world = World()
    with pytest.raises(ModelNotFound) as caught:
        world.admission.model(world.caller(), name)
    assert caught.value.param == "model"


def test_inactive_model_is_404() -> None:
    world = World(models=[Model("gpt-old", (), active=False)])
    with pytest.raises(ModelNotFound):
        world.admission.model(world.caller(), "gpt-old")


@pytest.mark.parametrize("name", ["x" * 100_000, "\ud800" * 300, "<script>\r\n\x00%s{}"])
def test_name_is_cut_at_200_characters_and_can_be_written(name: str) -> None:
    world = World()
    with pytest.raises(ModelNotFound) as caught:
        world.admission.model(world.caller(), name)
    message = caught.value.message
    assert len(message) < 300
    assert name[:200].encode("utf-8", "replace") in message.encode("utf-8")


def test_model_outside_the_plan_is_403_and_never_named_as_allowed() -> None:
    world = World()
    with pytest.raises(PlanForbidden) as caught:
        world.admission.model(world.caller(), "secret-model")
    assert caught.value.message == (
        "The model 'secret-model' is not in the plan 'team' of this account. "
        f"Allowed are: gpt-4o. Contact: {CONTACT}"
    )
    assert caught.value.param == "model"


def test_403_names_at_most_ten_models_of_the_own_plan() -> None:
    models = [Model(f"gpt-{number}", ()) for number in range(14)]
    world = World(models=[HIDDEN, *models, Model("gpt-off", (), active=False)])
    with pytest.raises(PlanForbidden) as caught:
        world.admission.model(world.caller(), "secret-model")
    allowed = caught.value.message.partition("Allowed are: ")[2]
    named = ", ".join(f"gpt-{number}" for number in range(10))
    assert allowed.startswith(f"{named} and 4 more (see GET /v1/models).")


def test_403_without_a_contact_ends_with_the_models() -> None:
    world = World(contact="")
    with pytest.raises(PlanForbidden, match=r"Allowed are: gpt-4o\.$"):
        world.admission.model(world.caller(), "secret-model")


def test_key_narrows_the_models_and_never_widens_them() -> None:
    models = [Model("gpt-a", ()), Model("gpt-b", ()), HIDDEN]
    world = World(models=models)
    caller = world.caller("narrow", models=("gpt-b", "secret-*"))
    assert world.admission.model(caller, "gpt-b").id == "gpt-b"
    assert [model.id for model in world.admission.models(caller)] == ["gpt-b"]
    with pytest.raises(PlanForbidden, match="narrowed") as caught:
        world.admission.model(caller, "gpt-a")
    assert "Allowed are: gpt-b." in caught.value.message
    with pytest.raises(PlanForbidden, match="not in the plan"):
        world.admission.model(caller, "secret-model")
    # What one key may not, the account's other key still may.
    assert world.admission.model(world.caller(), "gpt-a").id == "gpt-a"


def test_key_narrowed_to_nothing_is_told_so() -> None:
    world = World()
    with pytest.raises(PlanForbidden, match="No model is allowed"):
        world.admission.model(world.caller("none", models=("other",)), "gpt-4o")


def test_account_whose_plan_is_missing_is_told_so() -> None:
    world = World()
    caller = world.caller()
    world.admission.replace_catalog(world.catalog(Plan("other", ("*",))))
    for name in ("gpt-4o", "nope"):
        with pytest.raises(PlanForbidden, match="plan 'team' of this account is missing") as caught:
            world.admission.model(caller, name)
        assert caught.value.message.endswith(CONTACT)
    world.refused(PlanForbidden, caller)


def test_reloaded_catalog_decides_at_once_whatever_was_remembered() -> None:
    world = World()
    caller = world.caller()
    assert world.admission.model(caller, "gpt-4o") is MODEL
    world.admission.replace_catalog(world.catalog(Plan("team", ("claude-*",))), contact="")
    with pytest.raises(PlanForbidden, match="not in the plan") as caught:
        world.admission.model(caller, "gpt-4o")
    assert "Contact" not in caught.value.message


# --- standing, reload, memory ---------------------------------------------------------


def test_standing_of_a_fresh_caller() -> None:
    standing = World(requests_per_minute=60, daily_tokens=1_000).standing()
    assert (standing.requests_limit, standing.requests_remaining) == (60, 60)
    assert (standing.requests_reset_s, standing.tokens_limit) == (0.0, 1_000)
    assert (standing.tokens_used, standing.tokens_reserved) == (0, 0)
    assert standing.tokens_remaining == 1_000
    assert standing.tokens_resets_at == datetime(2026, 3, 3, tzinfo=UTC)


def test_standing_of_an_unlimited_caller_has_no_limits() -> None:
    standing = World().standing()
    assert (standing.requests_limit, standing.requests_remaining) == (None, None)
    assert (standing.requests_reset_s, standing.tokens_limit) == (None, None)
    assert standing.tokens_remaining is None


def test_standing_counts_used_and_reserved() -> None:
    world = World(requests_per_minute=60, daily_tokens=1_000)
    world.admit(prompt=100, max_tokens=200)
    world.admit(prompt=0, max_tokens=50).settle(1_500)
    standing = world.standing()
    assert (standing.requests_remaining, standing.requests_reset_s) == (58, 2.0)
    assert (standing.tokens_used, standing.tokens_reserved) == (1_500, 300)
    assert standing.tokens_remaining == 0


def test_standing_shows_the_one_of_account_and_key_with_less_left() -> None:
    world = World(requests_per_minute=60, daily_tokens=1_000)
    narrow = world.caller("narrow", requests_per_minute=10, daily_tokens=400)
    assert (world.standing(narrow).requests_limit, world.standing(narrow).tokens_limit) == (10, 400)
    for _ in range(55):
        world.admit(prompt=0, max_tokens=15).settle(15)
    standing = world.standing(narrow)
    assert (standing.requests_limit, standing.requests_remaining) == (60, 5)
    assert (standing.tokens_limit, standing.tokens_remaining) == (1_000, 175)


def test_standing_of_a_missing_plan_is_without_limits() -> None:
    world = World(daily_tokens=5)
    caller = world.caller()
    world.admission.replace_catalog(world.catalog())
    assert world.standing(caller).tokens_limit is None


def test_reloaded_limits_count_what_was_spent_before() -> None:
    world = World(requests_per_minute=10, daily_tokens=1_000)
    for _ in range(8):
        world.admit(prompt=10, max_tokens=0).settle(10)
    world.admission.replace_catalog(
        world.catalog(Plan("team", ("gpt-*",), requests_per_minute=15, daily_tokens=100))
    )
    standing = world.standing()
    # A fifth of the burst was left, and so it is.
    assert (standing.requests_limit, standing.requests_remaining) == (15, 3)
    assert (standing.tokens_limit, standing.tokens_remaining) == (100, 20)


def test_limits_taken_away_by_a_reload_no_longer_hold() -> None:
    world = World(requests_per_minute=1, daily_tokens=10)
    grant = world.admit(prompt=10, max_tokens=0)
    world.admission.replace_catalog(world.catalog(Plan("team", ("gpt-*",))))
    for _ in range(5):
        world.admit(prompt=1_000, max_tokens=0)
    grant.settle(10)
    assert world.admission.reserved == 0


def test_memory_follows_the_callers_of_today_not_all_that_ever_called() -> None:
    world = World(requests_per_minute=60, daily_tokens=1_000)
    for number in range(5_000):
        account = Account(number, f"{number}@example.org", "", "user", "team")
        secret = f"secret {number}"
        key = Key(f"k{number}", number, "", digest(secret), "", "", daily_tokens=5)
        world.keys.put(key, account)
        caller = world.admission.authenticate(secret, UNIX_NOW)
        world.admit(caller, prompt=1, max_tokens=0).settle(0)
        world.keys.remove(key.id)
        world.now += 1  # one call a second: an early bucket is full again long before
    assert len(world.admission._table) < 2_500


def test_forgetting_at_midnight_spares_what_still_runs() -> None:
    world = World(requests_per_minute=60, daily_tokens=1_000, concurrent_requests=1)
    grant = world.admit(prompt=100, max_tokens=0)
    world.today, world.now = TOMORROW, NOW + 100
    world.refused(ConcurrencyLimited)
    grant.settle(100)
    world.admit(prompt=1_000, max_tokens=0).settle(1_000)
    assert world.standing().tokens_used == 1_000


# --- charge ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "weight", "expected"),
    [
        (Usage(100, 20), 1.0, 120),
        (Usage(100, 20, cache_read=80), 1.0, 120),
        (Usage(100, 20, cache_read=80), 0.1, 48),
        (Usage(100, 20, cache_read=80), 0.0, 40),
        (Usage(100, 20, cache_read=80, cache_write=15, reasoning=10), 0.5, 80),
        (Usage(100, 20, cache_read=500), 0.0, 20),
        (Usage(0, 0), 0.1, 0),
        (Usage(-5, -5), 1.0, 0),
        (Usage(10**9, 10**9), 1.0, 10**9),
        (Usage(100, 0, cache_read=100), 2.0, 200),
    ],
)
def test_cached_tokens_are_charged_by_the_plans_weight(
    usage: Usage, weight: float, expected: int
) -> None:
    assert charge(usage, Plan("p", (), cached_tokens_weight=weight)) == expected
