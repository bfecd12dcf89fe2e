"""The one table from error to status: nothing of the error tree is missing in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import billing.ports
from api.errors import status_of
from billing import errors
from billing.errors import TallyError
from warehouse_sql.errors import MigrationRefused, UnknownQuery, WarehouseError

EXPECTED = {
    "InvalidInput": 422,
    "TooLarge": 413,
    "UnsupportedMedia": 415,
    "NotFound": 404,
    "Conflict": 409,
    "GateFailed": 409,
    "NotAuthenticated": 401,
    "NotAllowed": 403,
    "Unavailable": 503,
    "TooManyRequests": 429,
    "ProviderUnavailable": 503,
    "ProviderRejected": 409,
    "ProviderNotFound": 409,
    "ProviderKeyRefused": 409,
    "IdempotencyMismatch": 409,
    "CardDeclined": 402,
    "WebhookRefused": 400,
}


def _classes() -> Iterator[type[TallyError]]:
    for module in (errors, billing.ports):
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, TallyError) and found is not TallyError:
                yield found


@pytest.mark.parametrize("cls", list(dict.fromkeys(_classes())))
def test_every_class_of_the_error_tree_has_its_status(cls: type[TallyError]) -> None:
    assert status_of(cls("some_code", "What is wrong.")) == EXPECTED[cls.__name__]


def test_a_body_that_is_not_json_is_a_bad_request() -> None:
    assert status_of(errors.InvalidInput("body_not_json", "The body is not JSON.")) == 400


@pytest.mark.parametrize("error", [WarehouseError(60, "no table"), UnknownQuery("x"), MigrationRefused("x", "y")])
def test_what_only_a_mistake_of_ours_can_cause_is_a_fault_of_ours(error: TallyError) -> None:
    assert status_of(error) == 500
