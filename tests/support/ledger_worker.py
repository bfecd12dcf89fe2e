"""A process that works on a ledger at the same time as others: `python -m tests.support.ledger_worker`.

It prints `"ready"`, then answers each line `[ACTION, URL, …]` on its standard input with what came of it, both as JSON.
"""

import json
import sys
from collections.abc import Callable

from sqlalchemy.orm import Session

from billing.scope import Scope
from ledger.db import Ledger
from ledger.store import invoices, subscriptions
from tests.support.ledger_rows import FEBRUARY, NOW, priced


def migrate(ledger: Ledger) -> list[str]:
    return ledger.migrate()


def bill(ledger: Ledger, tenant_id: str, environment_id: str, *subscription_ids: str) -> list[str]:
    """Drafts, prices and finalizes each subscription's February, one transaction each; returns the numbers it gave."""
    scope = Scope(tenant_id, environment_id)

    def one(subscription_id: str) -> Callable[[Session], str | None]:
        def work(session: Session) -> str | None:
            subscription = subscriptions.get_subscription(session, scope, subscription_id)
            draft = invoices.ensure_draft(session, scope, subscription, FEBRUARY, NOW)
            if draft.status != "draft":
                return None
            priced(session, scope, draft.id)
            return invoices.finalize(session, scope, draft.id, NOW).number

        return work

    given = [ledger.run(one(subscription_id)) for subscription_id in subscription_ids]
    return [number for number in given if number is not None]


def main() -> None:
    actions: dict[str, Callable[..., list[str]]] = {"migrate": migrate, "bill": bill}
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        action, url, *arguments = json.loads(line)
        ledger = Ledger(url)
        result = actions[action](ledger, *arguments)
        ledger.dispose()
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
