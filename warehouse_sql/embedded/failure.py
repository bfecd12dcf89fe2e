"""Errors as ClickHouse sends them: a code, a name, a text, and the HTTP status that belongs to the code."""

from __future__ import annotations

import re

_ENGINE = re.compile(r"Code: (?P<code>\d+)\. (?P<text>DB::.*)", re.DOTALL)
_NAME = re.compile(r"\((?P<name>[A-Z][A-Z0-9_]+)\)\s*(?:\(version [^)]*\)+\s*)?$")
_VERSION = re.compile(r"\s*\(version [^()]*(?:\([^()]*\))?\)\.?")

# How the engine names the file in which the rows of a request reach it: of no use to the sender.
_FILE = re.compile(r"\(in file/uri [^)]*\): |: While executing File: data for INSERT was parsed from file")
# ClickHouse's own table, src/Server/HTTP/exceptionCodeToHTTPStatus.cpp, by the names of the errors; all others are 500.
_NAMES_BY_STATUS = {
    400: """
        BAD_ARGUMENTS CANNOT_COMPILE_REGEXP CANNOT_PARSE_TEXT CANNOT_PARSE_ESCAPE_SEQUENCE
        CANNOT_PARSE_QUOTED_STRING CANNOT_PARSE_DATE CANNOT_PARSE_DATETIME CANNOT_PARSE_NUMBER
        CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING CANNOT_PARSE_IPV4 CANNOT_PARSE_IPV6
        CANNOT_PARSE_INPUT_ASSERTION_FAILED CANNOT_PARSE_UUID DUPLICATE_COLUMN ILLEGAL_COLUMN
        UNKNOWN_ELEMENT_IN_AST UNKNOWN_TYPE_OF_AST_NODE THERE_IS_NO_COLUMN TOO_DEEP_AST TOO_BIG_AST
        UNEXPECTED_AST_STRUCTURE SYNTAX_ERROR INCORRECT_DATA TYPE_MISMATCH VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    """,
    401: "REQUIRED_PASSWORD",
    403: "UNKNOWN_USER WRONG_PASSWORD AUTHENTICATION_FAILED SET_NON_GRANTED_ROLE ACCESS_DENIED",
    404: """
        UNKNOWN_TABLE UNKNOWN_FUNCTION UNKNOWN_IDENTIFIER UNKNOWN_TYPE UNKNOWN_STORAGE UNKNOWN_DATABASE
        UNKNOWN_SETTING UNKNOWN_DIRECTION_OF_SORTING UNKNOWN_AGGREGATE_FUNCTION UNKNOWN_FORMAT
        UNKNOWN_DATABASE_ENGINE UNKNOWN_TYPE_OF_QUERY UNKNOWN_ROLE
    """,
    408: "TIMEOUT_EXCEEDED",
    411: "HTTP_LENGTH_REQUIRED",
    413: "QUERY_IS_TOO_LARGE LIMIT_EXCEEDED",
    415: "UNSUPPORTED_MEDIA_TYPE",
    501: "NOT_IMPLEMENTED",
    503: "SOCKET_TIMEOUT CANNOT_OPEN_FILE CANNOT_SCHEDULE_TASK",
}
_STATUS = {name: status for status, names in _NAMES_BY_STATUS.items() for name in names.split()}


class QueryFailed(Exception):
    """A statement that was refused or failed: ClickHouse's number and name of the error, and its text."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(code, name, text)
        self.code = code
        self.name = name
        self.text = text

    @property
    def status(self) -> int:
        """The HTTP status that ClickHouse gives to this error."""
        return _STATUS.get(self.name, 500)

    def body(self, version: str) -> bytes:
        """The whole answer, e.g. `Code: 60. DB::Exception: … (UNKNOWN_TABLE) (version 26.9.2.1)`."""
        return f"Code: {self.code}. DB::Exception: {self.text} ({self.name}) (version {version})\n".encode()


def from_engine(message: str) -> QueryFailed:
    """Reads the engine's own message; what does not look like one becomes an UNKNOWN_EXCEPTION (1002)."""
    found = _ENGINE.search(message)
    if found is None:
        return QueryFailed(1002, "UNKNOWN_EXCEPTION", message.strip() or "the engine failed without a message")
    text = _VERSION.sub("", _FILE.sub("", found["text"])).strip().removeprefix("DB::Exception: ")
    name = _NAME.search(text)
    # The engine repeats code and name where one exception was wrapped in another of the same kind.
    suffix = f"({name['name']})" if name else ""
    while suffix and text.endswith(suffix):
        text = text[: -len(suffix)].rstrip()
    text = re.sub(rf"^(?:Code: {found['code']}\. DB::Exception: )+", "", text)
    return QueryFailed(int(found["code"]), name["name"] if name else "UNKNOWN_EXCEPTION", text)
