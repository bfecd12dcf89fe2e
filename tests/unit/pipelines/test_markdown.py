"""Tables for the Dagster UI."""

from pipelines.assets.markdown import table


def test_cells_are_never_read_as_markup() -> None:
    text = table(("name",), [("<img src=x> [a](javascript:b) | `c`\n# d",)]).value
    assert text.splitlines()[2] == (
        "| &lt;img src=x\\> \\[a\\]\\(javascript:b\\) \\| \\`c\\` \\# d |".replace("\\>", ">")
    )


def test_a_long_table_says_how_many_rows_it_left_out() -> None:
    text = table(("n",), [(n,) for n in range(60)]).value
    assert text.count("\n| ") == 51
    assert text.endswith("… and 10 more")


def test_without_rows_it_says_so() -> None:
    assert table(("n",), []).value == "none"
