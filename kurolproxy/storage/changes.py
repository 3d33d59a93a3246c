"""Changes of an account: which they are, what the audit trail calls them, what forbids them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import aiosqlite

from kurolproxy.policy.keys import Account, AccountRole
from kurolproxy.storage.errors import Conflict
from kurolproxy.storage.records import checked_text, rows_of

Step = tuple[str, dict[str, Any]]
"""An action of the audit trail, and its detail."""

_OTHER_ADMIN: Final = (
    "SELECT 1 FROM accounts WHERE role = 'admin' AND active = 1 AND id != ? LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What is to become of an account; None leaves it as it is."""

    plan: str | None = None
    name: str | None = None
    role: AccountRole | None = None
    active: bool | None = None

    def checked(self) -> AccountChange:
        """Return it with its texts without the spaces around them.

        Raises:
            Invalid: a text is no single line.
        """
        plan = None if self.plan is None else checked_text(self.plan, "plan")
        name = None if self.name is None else checked_text(self.name, "name")
        return replace(self, plan=plan, name=name)

    def applied(self, account: Account) -> Account:
        """Return what an account becomes."""
        return Account(
            account.id,
            account.email,
            account.name if self.name is None else self.name,
            account.role if self.role is None else self.role,
            account.plan if self.plan is None else self.plan,
            account.active if self.active is None else self.active,
        )


def steps(before: Account, after: Account) -> Iterator[Step]:
    """Yield what the audit trail is to hold of a change; what stayed is none."""
    if after.plan != before.plan:
        yield "account.set-plan", {"plan": after.plan}
    if after.name != before.name:
        yield "account.rename", {"name": after.name}
    if after.role != before.role:
        yield "account.set-role", {"role": after.role}
    if after.active != before.active:
        yield ("account.enable" if after.active else "account.disable"), {}


async def write_change(db: aiosqlite.Connection, after: Account) -> None:
    """Write what can change of an account, in the transaction of the change."""
    await db.execute(
        "UPDATE accounts SET plan = ?, name = ?, role = ?, active = ? WHERE id = ?",
        (after.plan, after.name, after.role, int(after.active), after.id),
    )


async def check_admin_stays(
    db: aiosqlite.Connection, before: Account, after: Account | None
) -> None:
    """See to it that somebody can manage the gateway, in the transaction of the change.

    An installation without any admin is left as it is: the command line manages it.

    Args:
        after: None: the account is to be deleted.

    Raises:
        Conflict: the last admin that is active would be none any more.
    """
    if not _manages(before) or (after is not None and _manages(after)):
        return
    if not await rows_of(db, _OTHER_ADMIN, before.id):
        raise Conflict(
            f"{before.email} is the last active admin: make another account an admin first"
        )


def _manages(account: Account) -> bool:
    return account.active and account.role == "admin"
