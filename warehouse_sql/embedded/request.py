"""Reads an HTTP request as ClickHouse does: where the statement is, what are rows, parameters, settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

from warehouse_sql.embedded.body import Body
from warehouse_sql.embedded.engine import ExternalTable, Surroundings
from warehouse_sql.embedded.failure import QueryFailed
from warehouse_sql.statements import InsertHead, insert_head

# The names that ClickHouse's HTTP interface keeps for itself; every other URL parameter is a setting of the query.
# Sessions are accepted and have no effect: what a session holds (SET, temporary tables) ends with its request here.
_RESERVED = frozenset(
    {
        "query",
        "query_id",
        "user",
        "password",
        "database",
        "default_format",
        "quota_key",
        "role",
        "stacktrace",
        "buffer_size",
        "wait_end_of_query",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "client_protocol_version",
        "compress",
        "decompress",
    }
)
# The engine's max_query_size: beyond it a statement is refused, so that its end is never looked for further.
_MAX_STATEMENT = 262_144


@dataclass(frozen=True, slots=True)
class Query:
    """A statement without rows of its own."""

    sql: str


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT with rows: they are `first`, and then the body from `start` on."""

    head: InsertHead
    first: bytes = b""
    start: int = 0


@dataclass(frozen=True, slots=True)
class Form:
    """What a multipart body holds: parameters by name, and the data of external tables by name."""

    values: dict[str, str]
    files: dict[str, bytes]


def read_statement(url: Mapping[str, str], body: Body) -> Query | Insert:
    """Finds the statement in the URL, the body, or both, and for an INSERT where its rows start."""
    in_url = url.get("query", "")
    if in_url.strip():
        head = insert_head(in_url)
        if head is not None:
            first = in_url[head.data_start :].encode()
            return Insert(head, first)
        if not body.size:
            return Query(in_url)
    # A multi-byte character may be cut where the look at the body ends: only then is a decoding error not one.
    beginning = body.head(_MAX_STATEMENT)
    text = beginning.decode("utf-8", "surrogateescape")
    head = insert_head(in_url + "\n" + text if in_url else text)
    if head is not None and not in_url:
        start = len(text[: head.data_start].encode("utf-8", "surrogateescape"))
        return Insert(head, start=start)
    if body.size > _MAX_STATEMENT:
        raise QueryFailed(
            62, "SYNTAX_ERROR", f"Max query size exceeded: a statement has at most {_MAX_STATEMENT} bytes."
        )
    try:
        sql = beginning.decode()
    except UnicodeDecodeError:
        raise QueryFailed(62, "SYNTAX_ERROR", "The statement is not UTF-8 text.") from None
    return Query(f"{in_url}\n{sql}" if in_url else sql)


def read_form(body: Body, content_type: str) -> Form:
    """Takes a `multipart/form-data` body apart."""
    parser = BytesParser(policy=HTTP)
    raw = body.whole()
    if raw is None:
        raise QueryFailed(290, "LIMIT_EXCEEDED", "The form of this request is too large.")
    message: Message = parser.parsebytes(b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + raw)
    if not message.is_multipart():
        raise QueryFailed(36, "BAD_ARGUMENTS", "The form of this request cannot be read.")
    form = Form({}, {})
    for part in _parts(message):
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(payload, bytes):
            continue
        if part.get_filename() is None:
            form.values[name] = payload.decode()
        else:
            form.files[name] = payload
    return form


def _parts(message: Message) -> Iterator[Message]:
    parts = message.get_payload()
    if isinstance(parts, list):
        yield from (part for part in parts if isinstance(part, Message))


def surroundings(
    url: Mapping[str, str], files: Mapping[str, bytes], headers: Message, *, readonly: bool
) -> Surroundings:
    """Splits the URL's parameters into query parameters, settings, external tables and the database."""
    own = {f"{name}_{what}" for name in files for what in ("format", "structure", "types")}
    if url.get("compress", "0") not in {"0", "false", ""} or url.get("decompress", "0") not in {"0", "false", ""}:
        raise QueryFailed(
            48,
            "NOT_IMPLEMENTED",
            "compress and decompress are not offered here; use Accept-Encoding and Content-Encoding.",
        )
    return Surroundings(
        database=url.get("database") or headers.get("X-ClickHouse-Database") or None,
        settings={
            name: value
            for name, value in url.items()
            if name not in _RESERVED and name not in own and not name.startswith("param_")
        },
        parameters={name.removeprefix("param_"): value for name, value in url.items() if name.startswith("param_")},
        tables=tuple(_external_tables(url, files)),
        readonly=readonly,
    )


def _external_tables(url: Mapping[str, str], files: Mapping[str, bytes]) -> Iterable[ExternalTable]:
    for name, data in files.items():
        structure = url.get(f"{name}_structure")
        if structure is None:
            types = url.get(f"{name}_types")
            if types is None:
                raise QueryFailed(
                    36, "BAD_ARGUMENTS", f"The external table {name} needs {name}_structure or {name}_types."
                )
            structure = ", ".join(f"_{index} {kind}" for index, kind in enumerate(types.split(","), start=1))
        yield ExternalTable(name, structure, url.get(f"{name}_format", "TabSeparated"), data)
