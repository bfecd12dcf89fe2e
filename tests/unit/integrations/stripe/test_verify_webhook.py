"""A delivery counts only when one of our secrets signed exactly these bytes, lately."""

import json
from datetime import UTC, datetime

import pytest
import stripe

from billing.errors import InvalidInput
from billing.ports import WebhookRefused
from integrations.stripe.webhooks import verify

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECRET = "whsec_current_0123456789"
EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "invoice.paid",
    "created": 1795435200,
    "livemode": False,
    "api_version": "2026-10-28.endive",
    "data": {"object": {"id": "in_1", "object": "invoice"}},
}
RAW = json.dumps(EVENT, indent=2).encode()


def signed(raw: bytes = RAW, secret: str = SECRET, age: int = 0) -> str:
    at = int(NOW.timestamp()) - age
    return str(stripe.WebhookSignature.generate_signature_header(raw.decode(), secret, at))


def test_S3_a_signed_event_is_read() -> None:
    event = verify(RAW, signed(), [SECRET], NOW)
    assert (event.id, event.type, event.object["id"], event.livemode) == ("evt_1", "invoice.paid", "in_1", False)
    assert event.created == datetime.fromtimestamp(1795435200, UTC)


def test_S3_while_a_secret_is_rolled_both_are_accepted() -> None:
    old = "whsec_old_0123456789"
    assert verify(RAW, signed(secret=old), [SECRET, old], NOW).id == "evt_1"
    both = signed() + ",v1=" + signed(secret=old).split("v1=")[1]
    assert verify(RAW, both, [old], NOW).id == "evt_1"


@pytest.mark.parametrize(
    ("raw", "header", "secrets", "code"),
    [
        (RAW, None, [SECRET], "webhook_signature_missing"),
        (RAW, "", [SECRET], "webhook_signature_missing"),
        (RAW, "nonsense", [SECRET], "webhook_signature_invalid"),
        (RAW, "t=x,v1=y", [SECRET], "webhook_signature_invalid"),
        (RAW, signed(secret="whsec_other_012345"), [SECRET], "webhook_signature_invalid"),
        (RAW + b" ", signed(), [SECRET], "webhook_signature_invalid"),
        (json.dumps(EVENT).encode(), signed(), [SECRET], "webhook_signature_invalid"),
        (b"\xff\xfe", signed(), [SECRET], "webhook_signature_invalid"),
        (RAW, signed(), [], "webhook_secret_missing"),
        (RAW, signed(secret=""), [""], "webhook_secret_missing"),
        (RAW, signed(age=301), [SECRET], "webhook_too_old"),
        (RAW, signed(age=-301), [SECRET], "webhook_too_old"),
        (RAW, signed().replace(",", "=0,"), [SECRET], None),
    ],
    ids=lambda value: str(value)[:24],
)
def test_S3_what_is_not_provably_from_stripe_now_is_refused(
    raw: bytes, header: str | None, secrets: list[str], code: str | None
) -> None:
    if code is None:
        assert verify(raw, header, secrets, NOW).id == "evt_1"
        return
    with pytest.raises(WebhookRefused) as refusal:
        verify(raw, header, secrets, NOW)
    assert refusal.value.code == code
    assert SECRET not in str(refusal.value) + str(refusal.value.hint)


@pytest.mark.parametrize(
    "raw",
    [b"not json", b"[]", b"{}", b'{"id": 1}', b"null", b"[" * 3000, b'{"id": "evt_1", "type": "x", "created": "y"}'],
)
def test_a_signed_body_that_is_no_event_is_refused_as_such(raw: bytes) -> None:
    with pytest.raises(InvalidInput) as refusal:
        verify(raw, signed(raw), [SECRET], NOW)
    assert refusal.value.code == "webhook_not_an_event"
