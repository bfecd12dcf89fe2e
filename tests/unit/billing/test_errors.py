"""The error tree: what a caller can count on."""

from billing.errors import Conflict, InvalidInput, TallyError, TooLarge, Unavailable, UnsupportedMedia


def test_an_error_carries_its_code_where_it_is_and_the_way_out() -> None:
    error = Conflict("key_taken", "is taken", field="key", hint="Choose another.")
    assert (error.code, error.detail, error.field, error.hint) == ("key_taken", "is taken", "key", "Choose another.")
    assert str(error) == "key: is taken"
    assert str(Conflict("key_taken", "is taken")) == "is taken"


def test_a_field_is_read_from_the_outside_in() -> None:
    error = InvalidInput("x", "y", field="[1].up_to")
    assert error.within("tiers").within("prices[0]").field == "prices[0].tiers[1].up_to"
    assert InvalidInput("x", "y").within("prices[0]").field == "prices[0]"
    assert InvalidInput("x", "y").within("").field is None


def test_the_refusals_of_input_are_one_family() -> None:
    assert issubclass(TooLarge, InvalidInput)
    assert issubclass(UnsupportedMedia, InvalidInput)


def test_unavailable_says_when_to_come_back() -> None:
    error = Unavailable("warehouse_down", "does not answer", retry_after_seconds=5)
    assert isinstance(error, TallyError)
    assert error.retry_after_seconds == 5
