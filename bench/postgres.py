"""A real PostgreSQL for benchmarks and tests: a cluster of its own in a temporary folder, from the machine's binaries.

Standing in for root, which PostgreSQL refuses to run as, are the system users `postgres` and `nobody`.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

START_SECONDS = 60
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=100")
_DURABLE = ("shared_buffers=256MB", "max_wal_size=4GB", "max_connections=100")


class NoPostgres(Exception):
    """This machine has no PostgreSQL server binaries, or nobody to run them as."""


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[str]:
    """Yields the address `postgresql://postgres@127.0.0.1:PORT/postgres` of a fresh server.

    Unless `durable`, nothing is synced to disk, for what need not outlive the process. Raises NoPostgres where there is
    none to run.
    """
    binaries = _binaries()
    user = _unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="tally-pg-"))
    cluster = folder / "cluster"

    def run(program: str, *arguments: str) -> None:
        # In the folder, since the user may not enter the current one; output to a file, since the server inherits it.
        with (folder / "log").open("ab") as log:
            environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
            command = [str(binaries / program), *arguments]
            done = subprocess.run(  # noqa: S603 -- the server's own programs
                command,
                cwd=folder,
                env=environment,
                user=user,
                stdout=log,
                stderr=log,
                check=False,
                timeout=START_SECONDS,
            )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {(folder / 'log').read_text()}")

    try:
        if user is not None:
            shutil.chown(folder, user)
        encoding = ("-E", "UTF8", "--no-locale")
        run("initdb", "-D", str(cluster), "-U", "postgres", "-A", "trust", *encoding, "--no-sync")
        port = _free_port()
        settings = [
            *(_DURABLE if durable else _FAST),
            f"port={port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={folder}",
        ]
        run("pg_ctl", "start", "-w", "-D", str(cluster), "-o", " ".join(f"-c {setting}" for setting in settings))
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(cluster))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create_database(admin: str, name: str) -> str:
    """Makes an empty database on the server at `admin`; returns its SQLAlchemy address."""
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(statement)
    return admin.replace("postgresql://", "postgresql+psycopg://").removesuffix("/postgres") + "/" + name


def _binaries() -> Path:
    """The folder that holds initdb, pg_ctl and postgres, of the newest version installed."""
    packaged = Path("/usr/lib/postgresql").glob("*/bin")
    on_path = shutil.which("initdb")
    folders = sorted(packaged, key=lambda folder: [int(part) for part in folder.parent.name.split(".")], reverse=True)
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if all((folder / program).exists() for program in ("initdb", "pg_ctl", "postgres")):
            return folder
    raise NoPostgres("no PostgreSQL server binaries in /usr/lib/postgresql/*/bin or on PATH")


def _unprivileged_user() -> str | None:
    """Who runs the server: None for ourselves, another user where we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise NoPostgres("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
