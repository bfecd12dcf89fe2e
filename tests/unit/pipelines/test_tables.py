"""Tables for the Dagster UI."""

from datetime import UTC, datetime

import dagster as dg

from pipelines.assets.tables import table


def records(value: dg.TableMetadataValue | dg.TextMetadataValue) -> list[dict[str, object]]:
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_a_cell_is_what_was_sent_on_one_line() -> None:
    shown = records(table(("name", "at"), [("<img src=x> | `c`\n# d", datetime(2024, 2, 1, tzinfo=UTC))]))
    assert shown == [{"name": "<img src=x> | `c` # d", "at": "2024-02-01T00:00:00Z"}]


def test_a_long_table_says_how_many_rows_it_left_out() -> None:
    shown = records(table(("n", "m"), [(n, n) for n in range(60)]))
    assert (len(shown), shown[-1]) == (51, {"n": "… and 10 more", "m": ""})


def test_without_rows_it_says_so() -> None:
    assert table(("n",), []).value == "none"
