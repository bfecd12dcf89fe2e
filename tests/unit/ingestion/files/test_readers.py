"""Files become lines that the API takes: every digit kept, every row an event or a reason, by its number."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from billing.errors import InvalidInput
from ingestion.decode import decode_events
from ingestion.event import Event, Limits
from ingestion.files import rows as bounds
from ingestion.files.mapping import ColumnMapping
from ingestion.files.open import FileFormat, open_file
from ingestion.media import Form
from ingestion.refusal import BadEventError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = "2024-03-01T10:00:00Z"
HEADER = "event_name,customer_id,timestamp,n\n"
Bad = tuple[int, str, str | None]


def _lines(path: Path, mapping: ColumnMapping | None = None, **options: Any) -> tuple[list[bytes], list[Bad]]:
    reader = open_file(path, **options)
    mapping = mapping or ColumnMapping("f1", ours=reader.ours)
    mapping.check(reader.columns)
    lines: list[bytes] = []
    bad: list[Bad] = []
    for row in reader.rows(0):
        try:
            lines.append(mapping.line(row))
        except BadEventError as error:
            bad.append((row.number, error.code, error.field))
    reader.close()
    return lines, bad


def _read(path: Path, mapping: ColumnMapping | None = None, **options: Any) -> tuple[list[Event], list[Bad]]:
    """The events and refusals of a file, decoded as the API decodes them."""
    lines, bad = _lines(path, mapping, **options)
    if not lines:
        return [], bad
    decoded = decode_events(b"\n".join(lines), Limits(), NOW, Form.NDJSON)
    assert decoded.refused == []
    return decoded.events, bad


def _properties(path: Path, mapping: ColumnMapping | None = None) -> list[dict[str, str | None]]:
    events, bad = _read(path, mapping)
    assert bad == []
    return [event.texts() for event in events]


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "events.csv"
        path.write_text(text, newline="")
        return path

    return write


def test_columns_that_are_named_as_fields_are_fields_and_all_others_are_properties(
    csv_file: Callable[[str], Path],
) -> None:
    path = csv_file(
        f"event_id,event_name,customer_id,timestamp,tokens,model\ne1,api.request,acme,{AT},12.50,\ne2,a,42,{AT},1e3,é\n"
    )
    events, bad = _read(path)
    assert bad == []
    assert [(each.event_id, each.event_name, each.customer_id) for each in events] == [
        ("e1", "api.request", "acme"), ("e2", "a", "42"),
    ]  # fmt: skip
    assert [each.texts() for each in events] == [{"tokens": "12.50"}, {"tokens": "1e3", "model": "é"}]
    assert {each.timestamp for each in events} == {datetime(2024, 3, 1, 10, tzinfo=UTC)}


def test_columns_are_mapped_set_and_chosen(csv_file: Callable[[str], Path]) -> None:
    path = csv_file(f"account,ts,a,b,customer_id,event_name\nacme,{AT},1,2,x,y\n")
    columns = {"customer_id": "account", "timestamp": "ts"}
    mapping = ColumnMapping("f1", columns, {"event_name": "api.request"})
    [event] = _read(path, mapping)[0]
    assert (event.customer_id, event.event_name) == ("acme", "api.request")
    assert event.texts() == {"a": "1", "b": "2", "customer_id": "x", "event_name": "y"}
    assert _properties(path, ColumnMapping("f1", columns, properties=["b"])) == [{"b": "2"}]


def test_a_row_without_an_id_gets_one_of_the_file_and_its_number(csv_file: Callable[[str], Path]) -> None:
    events, _ = _read(csv_file(f"event_name,customer_id,timestamp,event_id\na,c,{AT},\n\na,c,{AT},own\na,c,{AT},\n"))
    assert [event.identity for event in events] == ["file_f1_1", "own", "file_f1_3"]


def test_E4_a_row_of_a_csv_that_cannot_be_read_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    good = f"a,c,{AT},1\n".encode()
    rows = [
        good,
        b"a,c\n",
        b"a,c,%s,\xff\n" % AT.encode(),
        b'a,"c"x,,\n',
        b",c,,1\n",
        b'a,c,%s,"x\ny"\n' % AT.encode(),
        good,
    ]
    path.write_bytes(b"\xef\xbb\xbfevent_name,customer_id,timestamp,n\n" + b"".join(rows) + b'a,"c')
    events, bad = _read(path)
    assert [event.texts()["n"] for event in events] == ["1", "x\ny", "1"]
    assert bad == [
        (2, "wrong_number_of_cells", None),
        (3, "not_utf8", None),
        (4, "csv_unreadable", None),
        (5, "missing", "event_name"),
        (8, "csv_unreadable", None),
    ]


@pytest.mark.parametrize("text", ["", "\n", "a,a\n", "a,,b\n"], ids=["empty", "blank", "twice", "unnamed"])
def test_a_csv_without_a_header_is_refused(csv_file: Callable[[str], Path], text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        open_file(csv_file(text))
    assert refused.value.code == "csv_header"


@pytest.mark.parametrize(
    ("mapping", "code"),
    [
        (ColumnMapping("f"), "field_without_column"),
        (ColumnMapping("f", {"customer_id": "none"}), "unknown_column"),
        (ColumnMapping("f", {"customer": "account"}), "unknown_field"),
        (ColumnMapping("f", {"customer_id": "account"}, {"customer_id": "x"}), "field_twice"),
        (ColumnMapping("f", {"customer_id": "account"}, properties=["zip"]), "unknown_column"),
    ],
)
def test_a_column_that_is_not_there_is_told_before_anything_is_read(
    csv_file: Callable[[str], Path], mapping: ColumnMapping, code: str
) -> None:
    reader = open_file(csv_file("account,event_name,timestamp\n"))
    with pytest.raises(InvalidInput) as refused:
        mapping.check(reader.columns)
    reader.close()
    assert refused.value.code == code


PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


@pytest.mark.parametrize("suffix", PACKERS)
def test_lines_keep_the_json_that_was_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events.ndjson{suffix}"
    start = b'{"event_name": "a", "customer_id": 7, "timestamp": "%s"' % AT.encode()
    more = [b', "n": 123456789012345678.10, "o": {"a": 1.50}, "z": null}', b', "properties": {"n": 1e5, "s": "x"}}']
    path.write_bytes(PACKERS[suffix](b"\xef\xbb\xbf" + b"\r\n\n".join(start + each for each in more)))
    events, bad = _read(path)
    assert bad == []
    assert [(event.identity, event.customer_id, event.texts()) for event in events] == [
        ("file_f1_1", "7", {"n": "123456789012345678.10", "o": '{"a": 1.50}', "o.a": "1.50", "z": None}),
        ("file_f1_3", "7", {"n": "1e5", "s": "x"}),
    ]


def test_E4_a_line_that_cannot_be_read_is_refused_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.files.ndjson.LONGEST_LINE", 200)
    good = {"event_name": "a", "customer_id": "c", "timestamp": AT}
    lines = [
        json.dumps(good), "no json", json.dumps({**good, "long": "x" * 900}), "[1]",
        json.dumps({**good, "timestamp": 1.5}),
        json.dumps({**good, "customer_id": 1.5}), json.dumps({**good, "a": 1, "properties": {"a": 2}}),
        json.dumps({**good, "properties": 3}), json.dumps({**good, "customer_id": None}), json.dumps(good)[:-5],
    ]  # fmt: skip
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(lines))
    lines_sent, bad = _lines(path)
    # A timestamp of 1.5 is sent as it is: whether it is one is for the API to say.
    assert [json.loads(line)["timestamp"] for line in lines_sent] == [AT, "1.5"]
    assert bad == [
        (2, "not_json", None),
        (3, "too_long", None),
        (4, "wrong_type", None),
        (6, "wrong_type", "customer_id"),
        (7, "property_twice", "a"),
        (8, "wrong_type", "properties"),
        (9, "missing", "customer_id"),
        (10, "not_json", None),
    ]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_file_that_ends_early_is_told_after_its_last_whole_row(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events.csv{suffix}"
    text = HEADER + "".join(f"a,c,{AT},{n * 7919}\n" for n in range(20_000))
    path.write_bytes(PACKERS[suffix](text.encode())[:-20])
    reader = open_file(path)
    with pytest.raises(InvalidInput, match="cannot be read after row") as refused:
        list(reader.rows(0))
    reader.close()
    assert refused.value.code == "file_damaged"


def _parquet(path: Path, **columns: Any) -> Path:
    given = {
        "event_name": pa.array(["a"]),
        "customer_id": pa.array([42]),
        "timestamp": pa.array([datetime(2024, 3, 1, 10, tzinfo=UTC)]),
    }
    pq.write_table(pa.table({**given, **columns}), path)
    return path


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([9007199254740993], pa.int64()), "9007199254740993"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        (pa.array([Decimal("123456789012345678.10")], pa.decimal128(38, 2)), "123456789012345678.10"),
        (pa.array([Decimal("0.000000001")], pa.decimal256(60, 9)), "0.000000001"),
        (pa.array([0.1], pa.float64()), "0.1"),
        (pa.array([0.1], pa.float32()), "0.1"),
        (pa.array([1e21], pa.float64()), "1e+21"),
        (pa.array([float("nan")], pa.float64()), "nan"),
        (pa.array([True]), "true"),
        (pa.array(["00123"]), "00123"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([b"bytes"], pa.binary()), "bytes"),
        (pa.array([date(2024, 3, 1)]), "2024-03-01"),
        (pa.array([[1, 2]]), "[1,2]"),
        (pa.array([[Decimal("1.50")]], pa.list_(pa.decimal128(5, 2))), "[1.50]"),
    ],
    ids=str,
)  # fmt: skip
def test_E6_a_parquet_cell_keeps_its_digits(tmp_path: Path, column: pa.Array, text: str) -> None:
    assert _properties(_parquet(tmp_path / "e.parquet", n=column)) == [{"n": text}]


def test_null_cells_are_no_properties_and_a_map_of_properties_is_taken_whole(tmp_path: Path) -> None:
    whole = pa.array([[("a", "1.50"), ("b", None)]], pa.map_(pa.string(), pa.string()))
    path = _parquet(tmp_path / "e.parquet", n=pa.array([None], pa.int64()), properties=whole)
    assert _properties(path) == [{"a": "1.50", "b": None}]


def test_nanoseconds_are_cut_to_microseconds(tmp_path: Path) -> None:
    moment = pa.array([1709287200_123456999], pa.timestamp("ns", "Europe/Berlin"))
    [event] = _read(_parquet(tmp_path / "e.parquet", timestamp=moment))[0]
    assert event.timestamp == datetime(2024, 3, 1, 10, 0, 0, 123456, UTC)


@pytest.mark.parametrize("name", ["e.parquet", "e.ndjson", "e.csv", "e.csv.gz"])
def test_rows_after_one_are_the_same_rows_as_when_all_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table = pa.table({"event_name": ["a"] * 50, "n": list(range(50))})
    if name.endswith(".parquet"):
        pq.write_table(table, path, row_group_size=7)
    elif name.endswith(".ndjson"):
        path.write_text("\n".join(json.dumps(each) for each in table.to_pylist()))
    else:
        text = "event_name,n\n" + "".join(f"a,{n}\n" for n in range(50))
        path.write_bytes(PACKERS[path.suffix if path.suffix == ".gz" else ""](text.encode()))
    for after in (0, 1, 7, 20, 49, 50):
        reader = open_file(path)
        assert [row.number for row in reader.rows(after)] == list(range(after + 1, 51))
        assert reader.position() == reader.total
        reader.close()


def test_a_large_file_is_read_without_holding_it(tmp_path: Path) -> None:
    held = 20_000_000  # of 50 MB
    text = "x" * 10_000
    lines = tmp_path / "e.ndjson.gz"
    line = json.dumps({"event_name": "a", "customer_id": "c", "timestamp": AT, "text": text}).encode()
    lines.write_bytes(gzip.compress(b"\n".join([line] * 5_000), compresslevel=1))
    table = tmp_path / "e.csv"
    table.write_text(HEADER + f"a,c,{AT},{text}\n" * 5_000)
    for path in (lines, table):
        reader = open_file(path)
        tracemalloc.start()
        assert sum(1 for _ in reader.rows(0)) == 5_000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        reader.close()
        assert peak < held
    columns = tmp_path / "e.parquet"
    texts = pa.array([f"{number}{text}" for number in range(5_000)])
    pq.write_table(pa.table({"text": texts}), columns, use_dictionary=False, compression="none")
    reader = open_file(columns)
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() - before for _ in reader.rows(0))
    reader.close()
    assert peak < held


def test_the_kind_of_file_is_told_by_its_name_or_in_words(tmp_path: Path) -> None:
    path = tmp_path / "events.txt"
    path.write_text(f"event_name;customer_id;timestamp\na;c;{AT}\n")
    with pytest.raises(InvalidInput, match="does not say") as unknown:
        open_file(path)
    assert "--format" in (unknown.value.hint or "")
    events, _ = _read(path, file_format=FileFormat.CSV, delimiter=";")
    assert len(events) == 1
    with pytest.raises(InvalidInput, match="not a Parquet file"):
        open_file(path, FileFormat.PARQUET)


def test_a_csv_line_without_an_end_does_not_fill_the_memory(
    csv_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.files.csv_rows.LONGEST_LINE", 100)
    reader = open_file(csv_file("event_name\n" + "x" * 1000))
    with pytest.raises(InvalidInput, match="longer than"):
        list(reader.rows(0))
    reader.close()
    assert Limits().properties * Limits().property_bytes <= bounds.LONGEST_LINE
