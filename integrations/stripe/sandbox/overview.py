"""What pages and control API tell about an account: its objects, and what each customer was charged."""

import sqlite3

from integrations.stripe.sandbox import accounts, store
from integrations.stripe.sandbox.context import Context
from integrations.stripe.sandbox.errors import Doc
from integrations.stripe.sandbox.service import Service

SHOWN = 50


def accounts_of(service: Service) -> list[Doc]:
    with service.store.transaction() as db:
        rows = db.execute("SELECT id, livemode, created FROM accounts ORDER BY created DESC LIMIT 200").fetchall()
        return [
            {
                "id": row["id"],
                "livemode": bool(row["livemode"]),
                "created": row["created"],
                "customers": store.count(db, row["id"], "customer"),
                "invoices": store.count(db, row["id"], "invoice"),
            }
            for row in rows
        ]


def account_of(service: Service, account_id: str) -> Doc | None:
    with service.store.transaction() as db:
        account = accounts.load(db, account_id, service.defaults)
        if account is None:
            return None
        ctx = Context(db, account, service.base_url)
        customers = ctx.find("customer", limit=SHOWN)
        return {
            "account": account,
            "customers": customers,
            "names": {customer["id"]: customer["name"] or customer["email"] for customer in customers},
            "invoices": ctx.find("invoice", limit=SHOWN),
            "sessions": ctx.find("checkout.session", limit=SHOWN),
            "charges": ctx.find("charge", limit=SHOWN),
            "events": ctx.find("event", limit=SHOWN),
        }


def ledger(db: sqlite3.Connection, account: str, customer: str | None = None) -> list[Doc]:
    """What each customer was charged and got back, per currency, in minor units, with the successful charges one by one
    and the invoice that each paid: the answer to "charged exactly once?"."""
    filters: list[store.Filter] = [("status", "eq", "succeeded")]
    if customer is not None:
        filters.append(("customer", "eq", customer))
    out: dict[tuple[str | None, str], Doc] = {}
    for charge in store.find(db, account, "charge", filters, oldest_first=True):
        empty = {
            "customer": charge["customer"],
            "currency": charge["currency"],
            "charged": 0,
            "refunded": 0,
            "charges": [],
        }
        entry = out.setdefault((charge["customer"], charge["currency"]), empty)
        entry["charged"] += charge["amount"]
        entry["refunded"] += charge["amount_refunded"]
        paid = store.find(db, account, "invoice_payment", [("payment.payment_intent", "eq", charge["payment_intent"])])
        entry["charges"].append(
            {
                "charge": charge["id"],
                "payment_intent": charge["payment_intent"],
                "invoice": paid[0]["invoice"] if paid else None,
                "amount": charge["amount"],
                "refunded": charge["amount_refunded"],
            }
        )
    return [{**entry, "net": entry["charged"] - entry["refunded"]} for entry in out.values()]
