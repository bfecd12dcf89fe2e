"""/v1/disputes: the cardholder's bank takes a payment back, as the test card 4000 0000 0000 0259 has it do.

Evidence decides as in Stripe's test mode: the text `winning_evidence` wins, `losing_evidence` loses.
"""

from typing import Any

from integrations.stripe.sandbox import events, pagination
from integrations.stripe.sandbox.context import Context, merge_metadata, new_id
from integrations.stripe.sandbox.errors import Doc, refused
from integrations.stripe.sandbox.routing import operation, retrieves
from integrations.stripe.sandbox.worker import job

KIND = "dispute"
PATH = "/v1/disputes/{dispute}"
DAYS_TO_ANSWER = 7
EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name",
    "customer_purchase_ip", "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation",
    "duplicate_charge_id", "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address", "shipping_carrier",
    "shipping_date", "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip
VERDICTS = {"winning_evidence": "won", "losing_evidence": "lost"}

retrieves(PATH, KIND)


@job("dispute.open")
def _opened(ctx: Context, charge_id: str) -> None:
    charge = ctx.load("charge", charge_id)
    charge["disputed"] = True
    ctx.save(charge)
    dispute = ctx.add(
        {
            "id": new_id("du"),
            "object": KIND,
            "amount": charge["amount"],
            "balance_transactions": [],
            "charge": charge_id,
            "created": ctx.now,
            "currency": charge["currency"],
            "enhanced_eligibility_types": [],
            "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
            "evidence_details": {
                "due_by": ctx.now + DAYS_TO_ANSWER * 86400,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
                "submission_method": "not_submitted",
            },
            "is_charge_refundable": False,
            "livemode": ctx.account.livemode,
            "metadata": {},
            "payment_intent": charge["payment_intent"],
            "payment_method_details": {
                "card": {
                    "brand": charge["payment_method_details"]["card"]["brand"],
                    "case_type": "chargeback",
                    "network": charge["payment_method_details"]["card"]["network"],
                    "network_reason_code": "10.4",
                },
                "type": "card",
            },
            "reason": "fraudulent",
            "status": "needs_response",
        }
    )
    events.emit(ctx, "charge.dispute.created", dispute)
    events.emit(ctx, "charge.dispute.funds_withdrawn", dispute)


@operation(f"POST {PATH}", KIND, "evidence.uncategorized_text metadata submit")
def update(ctx: Context, params: Doc, ident: str) -> Doc:
    dispute = ctx.load(KIND, ident)
    before = {**dispute, "metadata": dict(dispute["metadata"])}
    merge_metadata(dispute, params.get("metadata"))
    if "evidence" in params:
        _check_open(dispute)
        dispute["evidence"] = {**dispute["evidence"], **params["evidence"]}
        dispute["evidence_details"] = {**dispute["evidence_details"], "has_evidence": True}
        if params.get("submit", True):
            details = {"submission_count": dispute["evidence_details"]["submission_count"] + 1}
            dispute["evidence_details"].update(details, submission_method="manual")
            dispute["status"] = "under_review"
    ctx.save(dispute)
    events.emit(ctx, "charge.dispute.updated", dispute, before)
    verdict = VERDICTS.get(dispute["evidence"]["uncategorized_text"] or "")
    if verdict and dispute["status"] == "under_review":
        _close(ctx, dispute, verdict)
    return dispute


@operation(f"POST {PATH}/close", KIND)
def close(ctx: Context, _params: Doc, ident: str) -> Doc:
    dispute = ctx.load(KIND, ident)
    _check_open(dispute)
    _close(ctx, dispute, "lost")
    return dispute


@operation("GET /v1/disputes", KIND, "created charge payment_intent")
def index(ctx: Context, params: Doc) -> Doc:
    return pagination.page(ctx, params, KIND, "/v1/disputes", pagination.equals(params, "charge", "payment_intent"))


def _check_open(dispute: dict[str, Any]) -> None:
    if dispute["status"] not in ("needs_response", "under_review"):
        raise refused(f"This dispute is already closed: its status is {dispute['status']}.")


def _close(ctx: Context, dispute: Doc, status: str) -> None:
    dispute["status"] = status
    ctx.save(dispute)
    events.emit(ctx, "charge.dispute.closed", dispute)
    if status == "won":
        events.emit(ctx, "charge.dispute.funds_reinstated", dispute)
