"""What a fired fault does to a request: refuse it, slow it down, break it before it starts, or lose its answer."""

import time
from dataclasses import dataclass, field

from integrations.stripe.sandbox.errors import Doc, StripeError

LOCKED = (
    "This object cannot be accessed right now because another API request or Stripe process is currently accessing it. "
    "If you see this error intermittently, retry the request."
)


@dataclass(frozen=True)
class Outcome:
    """An answer on its way out. `injected` ones were made by a fault and are kept out of the recording.

    Of a `dropped` one nothing arrives, of a `torn` one the first half.
    """

    status: int
    body: Doc
    headers: dict[str, str] = field(default_factory=dict)
    dropped: bool = False
    torn: bool = False
    injected: bool = False


def api_error(message: str = "An unknown error occurred.") -> Doc:
    return {"error": {"type": "api_error", "message": message}}


def _retry_header(fault: Doc) -> dict[str, str]:
    return {"Stripe-Should-Retry": str(fault["should_retry"]).lower()} if "should_retry" in fault else {}


def admit(fault: Doc | None) -> None:
    """Raises the refusals that come before any work; waits if the plan is to be slow."""
    if fault is None:
        return
    headers = _retry_header(fault)
    match fault["action"]:
        case "rate_limit":
            raise StripeError(429, "Request rate limit exceeded.", code="rate_limit", saved=False, headers=headers)
        case "lock_timeout":
            raise StripeError(429, LOCKED, code="lock_timeout", saved=False, headers=headers)
        case "conflict":
            message = "The request conflicts with another request. Please try again."
            raise StripeError(409, message, code="idempotency_key_in_use", saved=False, headers=headers)
        case "forbidden":
            message = "The provided key does not have the required permissions for this endpoint."
            raise StripeError(403, message, saved=False)
        case "slow":
            time.sleep(fault.get("seconds", 1))


def before_commit(fault: Doc | None) -> Outcome | None:
    """The answer of a request that breaks before it did anything."""
    if fault is None or fault.get("when", "before") != "before":
        return None
    return _broken(fault)


def after_commit(fault: Doc | None, outcome: Outcome) -> Outcome:
    """What the caller gets to see of `outcome`, whose effects stand."""
    if fault is None or fault.get("when", "before") == "before":
        return outcome
    if fault["when"] == "during":
        return Outcome(outcome.status, outcome.body, outcome.headers, torn=True)
    if fault["action"] == "drop":
        return Outcome(outcome.status, outcome.body, outcome.headers, dropped=True)
    return _broken(fault) or outcome


def remembered(fault: Doc | None, outcome: Outcome) -> Outcome:
    """What an idempotency key keeps. A 500 is the API's own answer and is kept in place of the true one; 502 and above
    come from a proxy in front of the API, which knows nothing of keys."""
    seen = after_commit(fault, outcome)
    return seen if seen.injected and seen.status == 500 else outcome


def _broken(fault: Doc) -> Outcome | None:
    if fault["action"] == "drop":
        return Outcome(500, api_error(), dropped=True, injected=True)
    if fault["action"] == "error":
        return Outcome(int(fault.get("status", 500)), api_error(), _retry_header(fault), injected=True)
    return None
