"""The embedded warehouse speaks ClickHouse's HTTP interface: formats, encodings, parameters, errors, accounts."""

from __future__ import annotations

import gzip
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import lz4.frame
import pyarrow as pa
import pytest
import zstandard
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

from tests.support.waiting import wait_until
from tests.support.warehouse_fixtures import plain_client
from tests.support.warehouse_process import WarehouseProcess


class Http:
    """Plain HTTP to the server, in a database of one test alone."""

    def __init__(self, server: WarehouseProcess) -> None:
        self.database = f"test_{uuid.uuid4().hex}"
        self.client = httpx.Client(base_url=server.url, auth=(server.user, server.password), timeout=60)
        self.client.post("/", content=f"CREATE DATABASE {self.database}").raise_for_status()

    def ask(
        self,
        statement: str,
        content: bytes | Iterator[bytes] | None = None,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        url: Mapping[str, str | int] | None = None,
        **more: str | int,
    ) -> httpx.Response:
        """Sends the statement in the URL, with other URL parameters; the reply as it came, not decoded."""
        request = self.client.build_request(
            method,
            "/",
            params={"database": self.database, "query": statement, **(url or {}), **more},
            content=content,
            headers={"Accept-Encoding": "identity", **(headers or {})},
        )
        response = self.client.send(request, stream=True)
        try:
            raw = b"".join(response.iter_raw())
        finally:
            response.close()
        kept = {name: value for name, value in response.headers.items() if name != "content-encoding"}
        return httpx.Response(
            response.status_code,
            headers=kept,
            content=raw,
            extensions={"encoding": response.headers.get("content-encoding")},
        )

    def rows(self, statement: str, **more: str | int) -> str:
        """The reply's text; fails the test where the statement was refused."""
        reply = self.ask(statement, url=more)
        assert reply.status_code == 200, reply.text
        return reply.text.strip()

    def close(self) -> None:
        """Drops the database."""
        self.client.post("/", content=f"DROP DATABASE {self.database} SYNC").raise_for_status()
        self.client.close()


@pytest.fixture
def http(warehouse_server: WarehouseProcess) -> Iterator[Http]:
    """Plain HTTP to the session's server."""
    with closing(Http(warehouse_server)) as plain:
        yield plain


COLUMNS = """id UInt32, text String, exact Decimal(38, 12), at DateTime64(6, 'UTC'),
    tags Map(String, Nullable(String)), list Array(Array(String)), nothing Nullable(Int64)"""
ROWS = """SELECT number::UInt32 AS id, 'it''s \\\\ "n" ☃ \\t\\n' AS text,
    toDecimal128('123456789012345678.123456789012', 12) AS exact,
    toDateTime64('2026-02-28 23:59:59.999999', 6, 'UTC') AS at, map('a', '1.10', 'b', NULL) AS tags,
    [['x', ''], []] AS list, NULL AS nothing FROM numbers(100)"""
FINGERPRINT = """SELECT count(), sum(cityHash64(id, text, toString(exact), at, toString(tags), toString(list)))
    FROM {t:Identifier}"""
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "lz4": lz4.frame.compress,
}
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "lz4": lz4.frame.decompress,
}


@pytest.mark.parametrize(
    "name",
    ["Native", "RowBinary", "RowBinaryWithNamesAndTypes", "Arrow", "ArrowStream", "Parquet", "JSONEachRow",
     "JSONCompactEachRow", "JSONStringsEachRow", "TabSeparated", "TSVWithNames", "CSV", "CSVWithNames", "Values",
     "MsgPack"],
)  # fmt: skip
def test_every_format_goes_out_and_comes_back_unchanged(http: Http, name: str) -> None:
    for table in ("sent", "kept"):
        http.rows(f"CREATE TABLE {table} ({COLUMNS}) ENGINE = MergeTree ORDER BY id")
    http.rows(f"INSERT INTO sent {ROWS}")
    out = http.ask("SELECT * FROM sent ORDER BY id", default_format=name)
    assert out.headers["X-ClickHouse-Format"] == name
    back = http.ask(f"INSERT INTO kept FORMAT {name}", out.content)
    assert back.status_code == 200, back.text
    sent, kept = (http.rows(FINGERPRINT, param_t=table) for table in ("sent", "kept"))
    assert sent.startswith("100\t")
    assert sent == kept


@pytest.mark.parametrize("encoding", sorted(ENCODERS))
def test_bodies_are_read_and_replies_written_in_every_content_encoding(http: Http, encoding: str) -> None:
    http.rows("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
    # Two frames one after the other are one body: clickhouse-connect sends a frame for every block.
    body = b"".join(ENCODERS[encoding](b"%d\n" % n * 1000) for n in (1, 2))
    assert http.ask("INSERT INTO t FORMAT TSV", body, headers={"Content-Encoding": encoding}).status_code == 200
    reply = http.ask("SELECT n FROM t ORDER BY n", headers={"Accept-Encoding": encoding})
    assert reply.extensions["encoding"] == encoding
    assert DECODERS[encoding](reply.content) == b"1\n" * 1000 + b"2\n" * 1000


@pytest.mark.parametrize("encoding", sorted(ENCODERS))
def test_a_compressed_body_that_is_cut_short_stores_nothing(http: Http, encoding: str) -> None:
    http.rows("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
    body = ENCODERS[encoding](b"".join(b"%d\n" % n for n in range(50_000)))[:-20]
    reply = http.ask("INSERT INTO t FORMAT TSV", body, headers={"Content-Encoding": encoding})
    assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) == (500, "271")
    assert http.rows("SELECT count() FROM t") == "0"


def test_a_body_in_chunks_and_one_too_large_for_memory_are_stored_whole(http: Http) -> None:
    http.rows("CREATE TABLE t (n UInt64, filler String) ENGINE = MergeTree ORDER BY n")
    chunk = b"".join(b"%d\t%s\n" % (n, b"x" * 1000) for n in range(1000))
    assert http.ask("INSERT INTO t FORMAT TSV", iter([chunk, chunk])).status_code == 200
    assert http.ask("INSERT INTO t FORMAT TSV", (chunk for _ in range(40))).status_code == 200
    assert http.rows("SELECT count(), sum(n) FROM t") == f"{42 * 1000}\t{42 * 499_500}"


def test_a_statement_may_be_in_the_url_in_the_body_or_in_both(http: Http) -> None:
    assert http.rows("SELECT 1 + 1") == "2"
    assert http.ask("", b"SELECT 2 + 2 FORMAT CSV").text == "4\n"
    assert http.ask("SELECT", b" 3 + 3").text == "6\n"
    http.rows("CREATE TABLE t (a UInt8, b String) ENGINE = Memory")
    http.ask("", b'INSERT INTO t FORMAT JSONEachRow\n{"a": 1, "b": "; SELECT"}')
    http.ask("", b"INSERT INTO t VALUES (2, 'v;w'), (3, 'x')")
    http.ask("INSERT INTO t VALUES (4, 'y')", b"")
    assert http.rows("SELECT groupArray((a, b)) FROM (SELECT * FROM t ORDER BY a)") == (
        "[(1,'; SELECT'),(2,'v;w'),(3,'x'),(4,'y')]"
    )


def test_the_headers_say_what_clickhouse_says(http: Http) -> None:
    reply = http.ask("SELECT number FROM numbers(10)", query_id="asked-for", default_format="JSON")
    assert reply.headers["X-ClickHouse-Query-Id"] == "asked-for"
    assert reply.headers["X-ClickHouse-Timezone"] == reply.headers["X-ClickHouse-Timezone"].strip() != ""
    assert reply.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert '"read_rows":"10"' in reply.headers["X-ClickHouse-Summary"]
    assert reply.headers["X-ClickHouse-Server-Display-Name"] == "tallyhouse-embedded"
    http.rows("CREATE TABLE t (n UInt8) ENGINE = Memory")
    written = http.ask("INSERT INTO t FORMAT TSV", b"1\n2\n")
    assert '"written_rows":"2"' in written.headers["X-ClickHouse-Summary"]


@pytest.mark.parametrize(
    ("statement", "status", "code", "name"),
    [
        ("SELECT * FROM no_such_table", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT no_such_column", 404, 47, "UNKNOWN_IDENTIFIER"),
        ("SELEC 1", 400, 62, "SYNTAX_ERROR"),
        ("SELECT 1; DROP TABLE t", 400, 62, "SYNTAX_ERROR"),
        ("SELECT 1 SETTINGS no_such_setting = 1", 404, 115, "UNKNOWN_SETTING"),
        ("SELECT 1 FORMAT NoSuchFormat", 404, 73, "UNKNOWN_FORMAT"),
        ("SELECT {missing:UInt8}", 500, 456, "UNKNOWN_QUERY_PARAMETER"),
        ("SELECT throwIf(1, 'boom (at row 1)')", 500, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT sum(number) FROM system.numbers SETTINGS max_execution_time = 0.2", 408, 159, "TIMEOUT_EXCEEDED"),
    ],
)  # fmt: skip
def test_an_error_has_the_status_the_code_and_the_text_of_clickhouse(
    http: Http, statement: str, status: int, code: int, name: str
) -> None:
    reply = http.ask(statement)
    assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert reply.text.startswith(f"Code: {code}. DB::Exception: ")
    assert reply.text.count(f"({name})") == 1
    assert reply.text.count("DB::Exception") == 1
    assert http.rows("SELECT 'still here'") == "still here"


def test_a_setting_or_a_database_of_one_request_does_not_reach_the_next(http: Http) -> None:
    assert http.rows("SELECT getSetting('max_threads'), currentDatabase()", max_threads=7) == f"7\t{http.database}"
    assert http.rows("SELECT getSetting('max_threads'), currentDatabase()", database="system") != "7\tsystem"
    http.rows("SET max_threads = 5")
    http.rows("USE system")
    assert not http.rows("SELECT getSetting('max_threads')").startswith(("5", "7"))
    assert http.rows("SELECT currentDatabase()") == http.database


def test_a_get_request_only_reads(http: Http) -> None:
    assert http.ask("SELECT 1", method="GET").text == "1\n"
    refused = http.ask("CREATE TABLE t (n UInt8) ENGINE = Memory", method="GET")
    assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (500, "164")


@pytest.mark.parametrize(
    "hostile", ["' OR 1 = 1 --", "'; DROP TABLE t; --", "\\'; SELECT 1", "`", "\x00\t\n\\N", "{n:UInt8}", "%27%3B"]
)
def test_a_parameter_is_always_a_value_and_never_sql(
    warehouse_server: WarehouseProcess, http: Http, hostile: str
) -> None:
    http.rows("CREATE TABLE t (n UInt8) ENGINE = MergeTree ORDER BY n")
    http.rows("INSERT INTO t VALUES (1)")
    values = {"text": hostile, "list": [hostile, "x"], "pair": [(hostile, 1)]}
    with plain_client(warehouse_server, database=http.database) as client:
        echoed = client.query(
            "SELECT {text:String}, {list:Array(String)}, {pair:Array(Tuple(String, UInt8))}", parameters=values
        ).result_rows
        assert echoed == [(hostile, [hostile, "x"], [(hostile, 1)])]
        assert client.query("SELECT n FROM t WHERE toString(n) = {text:String}", parameters=values).row_count == 0
        with pytest.raises(DatabaseError):
            client.query("SELECT * FROM {text:Identifier}", parameters=values)
    assert http.ask("SELECT 1", url={f"max_threads=1, {hostile}": "1"}).status_code == 404
    http.ask("INSERT INTO t FORMAT TSV", b"", url={f"param_{hostile}": hostile})
    assert http.rows("SELECT n FROM t") == "1"


@pytest.mark.parametrize(
    "account",
    [
        {},
        {"X-ClickHouse-User": "{user}", "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-User": "nobody", "X-ClickHouse-Key": "{password}"},
        {"X-ClickHouse-User": "{user}"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer {password}"},
    ],
)
def test_a_request_without_the_right_account_is_refused(
    warehouse_server: WarehouseProcess, account: dict[str, str]
) -> None:
    words = {"user": warehouse_server.user, "password": warehouse_server.password}
    headers = {name: value.format_map(words) for name, value in account.items()}
    reply = httpx.post(warehouse_server.url, content=b"SELECT 1" + b" " * 200_000, headers=headers, timeout=60)
    assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) in {(401, "194"), (403, "516")}
    assert warehouse_server.password not in reply.text
    assert httpx.get(warehouse_server.url + "/ping", timeout=60).text == "Ok.\n"


@pytest.mark.parametrize("place", ["headers", "basic", "url"])
def test_an_account_is_read_from_every_place_where_clickhouse_reads_it(
    warehouse_server: WarehouseProcess, place: str
) -> None:
    user, password = warehouse_server.user, warehouse_server.password
    reply = httpx.post(
        warehouse_server.url,
        content="SELECT 1",
        headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password} if place == "headers" else None,
        auth=(user, password) if place == "basic" else None,
        params={"user": user, "password": password} if place == "url" else None,
        timeout=60,
    )
    assert reply.text == "1\n"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:9/', 'LineAsString')",
        "SELECT 1 INTO OUTFILE '/tmp/tallyhouse-outfile'",
        "INSERT INTO FUNCTION file('/x', 'CSV', 'a Int8') FORMAT CSV\n1",
        "CREATE TABLE f (a Int8) ENGINE = File(CSV)",
        "SYSTEM SHUTDOWN",
        "CREATE USER other IDENTIFIED BY 'x'",
    ],
)
def test_statements_cannot_reach_files_other_servers_or_the_process(http: Http, statement: str) -> None:
    reply = http.ask(statement)
    assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) in {(403, "497"), (501, "48")}


@pytest.mark.parametrize(
    "options", [{}, {"compress": "lz4"}, {"compress": "zstd"}, {"compress": "gzip"}, {"form_encode_query_params": True}]
)
def test_clickhouse_connect_works_unmodified(
    warehouse_server: WarehouseProcess, http: Http, options: dict[str, Any]
) -> None:
    at = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
    rows = [(n, "é" * n, Decimal("0.000000000001"), at, {"a": "1.10", "b": None}, [["x"], []], None) for n in range(50)]
    names = ["id", "text", "exact", "at", "tags", "list", "nothing"]
    with plain_client(warehouse_server, database=http.database, tz_mode="schema", **options) as client:
        client.command(f"CREATE TABLE t ({COLUMNS}) ENGINE = MergeTree ORDER BY id")
        assert client.insert("t", rows, column_names=names).written_rows == 50
        assert client.query("SELECT * FROM t ORDER BY id").result_rows == rows
        assert client.query_arrow("SELECT exact FROM t LIMIT 1")["exact"].to_pylist() == [Decimal("0.000000000001")]
        client.insert_arrow("t", pa.table({"id": pa.array([100], pa.uint32()), "text": ["arrow"]}))
        client.raw_insert("t", ["id", "text"], b'{"id":101,"text":"raw"}', fmt="JSONEachRow")
        assert client.command("SELECT count() FROM t WHERE id >= {low:UInt32}", parameters={"low": 100}) == 2
        assert client.raw_query("SELECT text FROM t WHERE id = 101", fmt="CSV") == b'"raw"\n'
        with client.query_arrow_stream("SELECT number FROM numbers(200000)") as batches:
            assert sum(batch.num_rows for batch in batches) == 200_000
        with client.query_rows_stream("SELECT number FROM numbers(200000)") as stream:
            assert sum(1 for _ in stream) == 200_000
        outside = ExternalData(file_name="pairs.tsv", data=b"1\ta\n2\tb\n", fmt="TSV", structure="n UInt8, s String")
        assert client.query("SELECT n, s FROM pairs ORDER BY n", external_data=outside).result_rows == [
            (1, "a"),
            (2, "b"),
        ]
        long = [str(n) for n in range(20_000)]
        assert client.query("SELECT length({long:Array(String)})", parameters={"long": long}).result_rows == [(20_000,)]


def test_parameters_of_every_type_arrive_exactly(warehouse_server: WarehouseProcess) -> None:
    at = datetime(2026, 10, 25, 0, 59, 59, 999999, tzinfo=UTC)
    values: dict[str, tuple[str, Any]] = {
        "a": ("Array(Array(String))", [["p", "q'\\"], []]),
        "b": ("Array(Tuple(String, Decimal(38, 12)))", [("x'", Decimal("1.000000000001"))]),
        "c": ("DateTime64(6, 'UTC')", at),
        "d": ("Decimal(76, 24)", Decimal("99999999999999999999.000000000000000000000001")),
        "e": ("Nullable(String)", None),
        "f": ("Array(DateTime64(6, 'UTC'))", [at]),
        "g": ("UInt64", 2**64 - 1),
        "h": ("Bool", True),
        "i": ("String", "tab\t line\n back\\slash ☃"),
    }
    columns = ", ".join(f"{{{name}:{kind}}} AS {name}_" for name, (kind, _) in values.items())
    with plain_client(warehouse_server, tz_mode="schema") as client:
        given = {name: value for name, (_, value) in values.items()}
        rows = client.query(f"SELECT {columns}", parameters=given).result_rows
    assert rows == [tuple(given.values())]


def test_time_zones_come_with_the_engine(http: Http) -> None:
    local_midnight = "SELECT toUInt32(toDateTime('2026-07-01 00:00:00', 'America/St_Johns'))"
    assert http.rows(local_midnight) == "1782873000"


def test_a_running_insert_is_listed_with_its_start(http: Http) -> None:
    http.rows("CREATE TABLE t (n UInt8) ENGINE = Null")
    http.rows("CREATE TABLE slow (n UInt8) ENGINE = Memory")
    http.rows("CREATE MATERIALIZED VIEW v TO slow AS SELECT n FROM t WHERE sleepEachRow(1.5) = 0")
    running = """SELECT count() FROM system.processes
        WHERE query_kind = 'Insert' AND current_database = {db:String} AND elapsed >= 0"""
    with ThreadPoolExecutor(1) as pool:
        insert = pool.submit(http.ask, "INSERT INTO t FORMAT JSONEachRow", b'{"n":1}')
        wait_until(lambda: http.rows(running, param_db=http.database) == "1")
        assert insert.result().status_code == 200
    assert http.rows(running, param_db=http.database) == "0"
