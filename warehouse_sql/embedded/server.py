"""ClickHouse's HTTP interface in front of the engine: one thread per connection, kept alive between requests."""

from __future__ import annotations

import logging
import re
import sys
import threading
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from warehouse_sql.embedded.body import Body, from_socket
from warehouse_sql.embedded.codings import chosen, decoded, encoded
from warehouse_sql.embedded.credentials import Credentials
from warehouse_sql.embedded.engine import Engine, Outcome
from warehouse_sql.embedded.failure import QueryFailed
from warehouse_sql.embedded.reply import content_type, summary
from warehouse_sql.embedded.request import Query, read_form, read_statement, surroundings
from warehouse_sql.statements import trailing_format

log = logging.getLogger(__name__)

Headers = list[tuple[str, str]]
_FORMAT = re.compile(r"\w+")
_QUERY_ID = re.compile(r"[!-~]{1,200}")
_DISCARDED = 1 << 20


class WarehouseServer(ThreadingHTTPServer):
    """Accepts connections on one loopback address and answers from one engine."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        address: tuple[str, int],
        engine: Engine,
        credentials: Credentials,
        spool: Path,
        body_limit: int,
    ) -> None:
        super().__init__(address, Handler)
        self.engine = engine
        self.credentials = credentials
        self.spool = spool
        self.body_limit = body_limit
        self._busy = 0
        self._idle = threading.Condition()

    def enter(self) -> None:
        """A request has begun."""
        with self._idle:
            self._busy += 1

    def leave(self) -> None:
        """A request has been answered."""
        with self._idle:
            self._busy -= 1
            self._idle.notify_all()

    def drain(self, seconds: float) -> bool:
        """Waits until no request is running; False where some still ran after `seconds`."""
        with self._idle:
            return self._idle.wait_for(lambda: self._busy == 0, seconds)

    def handle_error(self, request: object, client_address: object) -> None:
        """Called by the standard library while it handles an exception that no request could answer."""
        log.warning("a connection failed: %r", sys.exception())


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: WarehouseServer
    protocol_version = "HTTP/1.1"
    server_version = "tallyhouse-warehouse"
    sys_version = ""
    # A silent peer frees its thread after this long; it also bounds how long a body may stall.
    timeout = 300
    wbufsize = 1 << 16
    rbufsize = 1 << 16
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """`/ping`, `/replicas_status`, and statements that only read."""
        self._answer(readonly=True)

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self._answer(readonly=True)

    def do_POST(self) -> None:
        """Every kind of statement."""
        self._answer(readonly=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the standard library's name
        """Access lines are debug noise and hold the statement: never its parameters, and only when asked for."""
        log.debug("%s %s", self.command, urlsplit(self.path).path)

    def _answer(self, *, readonly: bool) -> None:
        self.server.enter()
        self._body_is_read = False
        try:
            path = urlsplit(self.path).path
            if path in {"/ping", "/replicas_status"}:
                self._send(HTTPStatus.OK, b"Ok.\n", [("Content-Type", "text/html; charset=UTF-8")])
            elif path != "/":
                self.close_connection = True
                self._send(HTTPStatus.NOT_FOUND, b"There is nothing here. Use / or /ping.\n", [])
            else:
                self._statement(readonly=readonly)
        except OSError:
            # The peer is gone or silent; there is nobody to tell.
            self.close_connection = True
        finally:
            self.server.leave()

    def _statement(self, *, readonly: bool) -> None:
        headers: Headers = []
        try:
            url = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True, errors="strict"))
            headers.append(("X-ClickHouse-Query-Id", _query_id(url)))
            self.server.credentials.check(self.headers, url)
            raw = from_socket(self.rfile, self.headers.get("Content-Length"), self.headers.get("Transfer-Encoding", ""))
            plain = decoded(raw, self.headers.get("Content-Encoding", "").strip().lower())
            with closing(Body(plain, self.server.spool, self.server.body_limit)) as body:
                self._body_is_read = True
                outcome, data_format = self._run(url, body, readonly=readonly)
            headers += [("Content-Type", content_type(data_format)), ("X-ClickHouse-Format", data_format)]
            headers.append(("X-ClickHouse-Summary", summary(outcome)))
            self._send(
                HTTPStatus.OK, outcome.data, headers, compressible=url.get("enable_http_compression", "1") != "0"
            )
        except QueryFailed as failed:
            self._refuse(failed, headers)
        except UnicodeDecodeError:
            self._refuse(QueryFailed(36, "BAD_ARGUMENTS", "The URL is not UTF-8 text."), headers)
        except OSError:
            raise
        except Exception:
            log.exception("a request failed in the server itself")
            self._refuse(
                QueryFailed(1001, "STD_EXCEPTION", "The warehouse server itself failed; its log says how."), headers
            )

    def _refuse(self, failed: QueryFailed, headers: Headers) -> None:
        if not self._body_is_read:
            # What is left of the body would be taken for the next request. A little of it is read first: closing on
            # unread bytes resets the connection, and the client would never see this answer.
            self.close_connection = True
            self.connection.settimeout(1)
            with suppress(OSError):
                self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _DISCARDED))
        headers = [
            *headers,
            ("Content-Type", "text/plain; charset=UTF-8"),
            ("X-ClickHouse-Exception-Code", str(failed.code)),
        ]
        if failed.status == HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", 'Basic realm="ClickHouse server HTTP API"'))
        self._send(HTTPStatus(failed.status), failed.body(self.server.engine.version), headers)

    def _run(self, url: dict[str, str], body: Body, *, readonly: bool) -> tuple[Outcome, str]:
        engine = self.server.engine
        default = url.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        if not _FORMAT.fullmatch(default):
            raise QueryFailed(73, "UNKNOWN_FORMAT", "The default format is not the name of a format.")
        files: dict[str, bytes] = {}
        kind = self.headers.get("Content-Type", "")
        if kind.lower().startswith("multipart/form-data"):
            form = read_form(body, kind)
            url, files = url | form.values, form.files
            body = Body(iter(()), self.server.spool, self.server.body_limit)
        around = surroundings(url, files, self.headers, readonly=readonly)
        statement = read_statement(url, body)
        if isinstance(statement, Query):
            return engine.query(statement.sql, default, around), trailing_format(statement.sql) or default
        return engine.insert(statement.head, body.path(statement.first, statement.start), around), default

    def _send(
        self, status: HTTPStatus, data: bytes | memoryview, headers: Headers, *, compressible: bool = False
    ) -> None:
        encoding = chosen(self.headers.get("Accept-Encoding", "")) if compressible and len(data) else None
        if encoding is not None:
            data = encoded(data, encoding)
        engine = self.server.engine
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if encoding is not None:
            self.send_header("Content-Encoding", encoding)
        self.send_header("X-ClickHouse-Server-Display-Name", engine.display_name)
        self.send_header("X-ClickHouse-Timezone", engine.timezone)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        with suppress(ConnectionError):
            self.wfile.flush()


def _query_id(url: Mapping[str, str]) -> str:
    asked = url.get("query_id", "")
    return asked if _QUERY_ID.fullmatch(asked) else str(uuid.uuid4())
