"""Just enough reading of SQL text to know where one statement ends.

A small lexer: it knows strings, quoted names, comments and heredocs, so that a `;` or a word inside one of them is
never taken for syntax. It does not parse SQL; what a statement means is the engine's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

# One alternative per kind of token, tried in this order. An unterminated quote or comment runs to the end of the text.
_TOKEN = re.compile(
    r"""
      (?P<blank>(?:\s+|--[^\n]*|\#(?=[!\s])[^\n]*|/\*.*?(?:\*/|\Z))+)
    | (?P<quoted>
          '(?:[^'\\]|\\.|'')*(?:'|\Z)
        | "(?:[^"\\]|\\.|"")*(?:"|\Z)
        | `(?:[^`\\]|\\.|``)*(?:`|\Z)
        | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z))
    | (?P<word>\w+)
    | (?P<symbol>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BRACKETS = "()[]{}"
_LAST_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
_CLIENT_FILES = re.compile(r"outfile|infile|input", re.IGNORECASE)


class Token(NamedTuple):
    """A piece of SQL text at `start`; `depth` counts the brackets open around it."""

    kind: str
    text: str
    start: int
    depth: int

    @property
    def end(self) -> int:
        """Index of the first character after it."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class InsertHead:
    """An INSERT whose rows follow as data: `INSERT INTO t (a)`, its SETTINGS or "", its format, its data's start."""

    target: str
    settings: str
    format: str
    data_start: int


def tokens(sql: str) -> Iterator[Token]:
    """The meaningful tokens of `sql`: spaces and comments are left out."""
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "symbol"
        if kind == "blank":
            continue
        text = match.group()
        if kind != "symbol" or text not in _BRACKETS:
            yield Token(kind, text, match.start(), depth)
        elif text in "([{":
            yield Token(kind, text, match.start(), depth)
            depth += 1
        else:
            depth = max(0, depth - 1)
            yield Token(kind, text, match.start(), depth)


def split(sql: str) -> list[str]:
    """The statements of a script, without their `;` and without the empty ones.

    >>> split("SELECT ';' -- one; really\\n; SELECT 2;;")
    ["SELECT ';' -- one; really", 'SELECT 2']
    """
    if ";" not in sql and "--" not in sql and "/*" not in sql:
        return [sql.strip()] if sql.strip() else []
    statements: list[str] = []
    start, empty = 0, True
    for token in tokens(sql):
        if token.text == ";" and token.kind == "symbol":
            if not empty:
                statements.append(sql[start : token.start].strip())
            start, empty = token.end, True
        else:
            empty = False
    if not empty:
        statements.append(sql[start:].strip())
    return statements


def insert_head(sql: str) -> InsertHead | None:
    """Where the data of `INSERT … FORMAT x <data>` or `INSERT … VALUES <data>` starts; None for every other statement.

    The engine's own rule for the gap: after the name of a format come optional blanks and at most one line break, then
    the data, whose first byte may well be another line break (binary formats).

    >>> insert_head("INSERT INTO t (a) FORMAT TSV\\n1\\n")
    InsertHead(target='INSERT INTO t (a)', settings='', format='TSV', data_start=29)
    """
    stream = tokens(sql)
    first = next(stream, None)
    if first is None or first.kind != "word" or first.text.upper() != "INSERT":
        return None
    name_is_next = True
    settings_start: int | None = None
    for token in stream:
        word = token.text.upper() if token.kind == "word" and token.depth == 0 else ""
        if name_is_next:
            # A table may be called `format` or `values`: what follows INTO, or a dot, is never a keyword.
            name_is_next = word in {"INTO", "TABLE", "FUNCTION"}
        elif token.text == ".":
            name_is_next = True
        elif word in {"SELECT", "WITH", "FROM", "WATCH"}:
            return None
        elif word == "VALUES":
            return _head(sql, settings_start, token.start, "Values", token.end)
        elif word == "FORMAT":
            name = next(stream, None)
            if name is None or name.kind != "word":
                return None
            gap = re.compile(r"[ \t\f]*\r?\n?").match(sql, name.end)
            return _head(sql, settings_start, token.start, name.text, gap.end() if gap else name.end)
        elif word == "SETTINGS":
            settings_start = token.start
    return None


def _head(sql: str, settings_start: int | None, end: int, data_format: str, data_start: int) -> InsertHead:
    target_end = end if settings_start is None else settings_start
    return InsertHead(sql[:target_end].rstrip(), sql[target_end:end].rstrip(), data_format, data_start)


def trailing_format(sql: str) -> str | None:
    """The format that a query names for its result, `… FORMAT x`, perhaps followed by SETTINGS or a `;`.

    >>> trailing_format("SELECT format FROM t FORMAT JSON SETTINGS max_threads = 1;")
    'JSON'
    """
    last = _LAST_FORMAT.search(sql)
    if last is not None:
        return last.group(1)
    found = [token for token in tokens(sql) if token.depth == 0] if "format" in sql.lower() else []
    for index in range(len(found) - 1, 0, -1):
        word, name, after = found[index - 1], found[index], found[index + 1 : index + 2]
        ends = not after or after[0].text.upper() in {";", "SETTINGS"}
        if word.kind == name.kind == "word" and word.text.upper() == "FORMAT" and ends:
            return name.text
    return None


def reads_client_files(sql: str) -> bool:
    """Whether it asks its client for a file or for rows: INTO OUTFILE '…', FROM INFILE '…', INSERT … input(…)."""
    if not _CLIENT_FILES.search(sql):
        return False
    found = list(tokens(sql))
    inserts = bool(found) and found[0].text.upper() == "INSERT"
    for token, following in pairwise(found):
        word = token.text.upper() if token.kind == "word" else ""
        if word in {"OUTFILE", "INFILE"} and following.kind == "quoted":
            return True
        if word == "INPUT" and following.text == "(" and inserts:
            return True
    return False
