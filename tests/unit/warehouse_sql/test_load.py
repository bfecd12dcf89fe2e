"""SQL by name, and the lexer that tells where a statement ends."""

from __future__ import annotations

import pytest

from warehouse_sql.errors import UnknownQuery
from warehouse_sql.load import sql
from warehouse_sql.statements import insert_head, reads_client_files, split, trailing_format


def test_a_statement_is_loaded_by_its_name() -> None:
    assert "FROM schema_migrations" in sql("setup/applied_migrations")


@pytest.mark.parametrize(
    "name",
    ["queries/no_such_query", "", "setup", "../setup/database", "setup/../setup/database", "/etc/passwd", "a.sql"],
)
def test_an_unknown_name_is_refused_and_says_which(name: str) -> None:
    with pytest.raises(UnknownQuery) as refused:
        sql(name)
    assert refused.value.code == "unknown_query"
    assert repr(name) in str(refused.value)


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        pytest.param("SELECT 1;\nSELECT 2;\n", ["SELECT 1", "SELECT 2"], id="two"),
        pytest.param(
            "SELECT ';', 'it''s; so', 'a\\';b'; SELECT 2",
            ["SELECT ';', 'it''s; so', 'a\\';b'", "SELECT 2"],
            id="strings",
        ),
        pytest.param('SELECT ";", `a;b`', ['SELECT ";", `a;b`'], id="quoted names"),
        pytest.param(
            "SELECT 1 -- one; two\n; SELECT 2 # three; four\n",
            ["SELECT 1 -- one; two", "SELECT 2 # three; four"],
            id="line comments",
        ),
        pytest.param("SELECT 1 /* a; b */; /* only; this */", ["SELECT 1 /* a; b */"], id="block comments"),
        pytest.param("SELECT $$a;b$$; SELECT $x$;$$;$x$", ["SELECT $$a;b$$", "SELECT $x$;$$;$x$"], id="heredocs"),
        pytest.param("-- nothing;\n;;", [], id="empty"),
    ],
)
def test_a_script_is_split_only_at_a_semicolon_that_ends_a_statement(script: str, statements: list[str]) -> None:
    assert split(script) == statements


@pytest.mark.parametrize(
    ("statement", "head", "data"),
    [
        pytest.param("INSERT INTO t FORMAT CSV\n1,2\n", "INSERT INTO t", "1,2\n", id="format"),
        pytest.param(
            "insert into d.t (a, `values`) format Native\n\n\x01",
            "insert into d.t (a, `values`)",
            "\n\x01",
            id="data may start with a line break",
        ),
        pytest.param(
            "INSERT INTO format (a) VALUES (1), ('FORMAT x')",
            "INSERT INTO format (a)",
            " (1), ('FORMAT x')",
            id="a table named format",
        ),
        pytest.param("INSERT INTO d.values FORMAT TSV 1", "INSERT INTO d.values", "1", id="a table named values"),
        pytest.param(
            "INSERT INTO t SETTINGS a = 'FORMAT x' FORMAT JSONEachRow\r\n{}",
            "INSERT INTO tSETTINGS a = 'FORMAT x'",
            "{}",
            id="settings",
        ),
        pytest.param(
            "/* c */ INSERT INTO {t:Identifier} FORMAT TSV",
            "/* c */ INSERT INTO {t:Identifier}",
            "",
            id="parameter and comment",
        ),
    ],
)
def test_the_data_of_an_insert_starts_right_after_its_format(statement: str, head: str, data: str) -> None:
    found = insert_head(statement)
    assert found is not None
    assert (found.target + found.settings, statement[found.data_start :]) == (head, data)


@pytest.mark.parametrize(
    "statement", ["INSERT INTO t SELECT 1 FORMAT CSV", "SELECT 'INSERT INTO t FORMAT CSV'", "INSERT INTO t", ""]
)
def test_a_statement_without_rows_of_its_own_has_no_data(statement: str) -> None:
    assert insert_head(statement) is None


def test_the_last_format_of_a_query_is_the_format_of_its_result() -> None:
    assert trailing_format("SELECT 1 FORMAT ArrowStream SETTINGS max_threads = 1;") == "ArrowStream"
    assert trailing_format("SELECT format FROM (SELECT 1 FORMAT CSV)") is None
    assert trailing_format("SELECT 'x FORMAT CSV'") is None


@pytest.mark.parametrize(
    ("statement", "reads"),
    [
        ("SELECT 1 INTO OUTFILE '/tmp/x'", True),
        ("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", True),
        ("INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV", True),
        ("SELECT 'INTO OUTFILE', outfile, infile FROM input", False),
    ],
)
def test_statements_that_would_open_files_of_the_server_are_recognised(statement: str, reads: bool) -> None:
    assert reads_client_files(statement) is reads
