"""The services of docker-compose.yml without Docker: each one a process group, with its command and its environment.

Commands, environments, health checks and the order of starting are read from the file. What differs from containers is
written down here: a service's host name and port become a free port of this machine, `/srv` a folder of each service's
own, PostgreSQL comes from the machine's binaries, and the embedded warehouse stands for clickhouse-server.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql

from bench.postgres import running_postgres
from tests.support.api_process import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"clickhouse": 8123, "postgres": 5432, "api": 8080, "code": 4266, "dagster": 3000}
SECONDS = 600

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def read_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """docker-compose.yml with its anchors and variables resolved; KeyError with its words where one has to be set."""

    def value_of(found: re.Match[str]) -> str:
        name, kind, text = found.groups()
        if variables.get(name):
            return variables[name]
        if kind == "?":
            raise KeyError(f"{name}: {text}")
        return text or ""

    def resolved(part: Any) -> Any:
        match part:
            case dict():
                return {name: resolved(value) for name, value in part.items()}
            case list():
                return [resolved(value) for value in part]
            case str():
                return _VARIABLE.sub(value_of, part)
        return part

    written: dict[str, Any] = resolved(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
    return written


@dataclass
class Service:
    """One service: what runs, in what environment, and how it is told that it is well."""

    name: str
    command: list[str]
    environment: dict[str, str]
    workdir: Path
    log: Path
    health: list[str]
    restarts: bool
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, cwd=self.workdir, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def is_healthy(self) -> bool:
        """Whether its health check says so, run where the service runs."""
        try:
            checked = subprocess.run(
                self.health, env=self.environment, cwd=self.workdir, capture_output=True, check=False, timeout=60
            )
        except subprocess.TimeoutExpired:
            return False
        return checked.returncode == 0

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Its processes stand still for the length of a block."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.is_healthy():
            assert self.alive, f"{self.name} ended:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{self.name} is not well:\n{self.log.read_text()[-3000:]}"
            # A check is a process of its own, and takes more than the service beside it.
            time.sleep(1)

    def kill(self, *, comes_back: bool = True) -> None:
        """kill -9 of all of its processes, as the end of a container is; it comes back as the file says, or later."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)
        if self.restarts and comes_back:
            self.start()

    def stop(self) -> None:
        """A clean end within half a minute, or none; what it has started goes with it."""
        if self.process is None:
            return
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            self.process.terminate()
            self.process.wait(timeout=60)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)


@dataclass
class ComposeServices:
    """The running services by name."""

    compose: dict[str, Any]
    home: Path
    ports: dict[str, int]
    services: dict[str, Service] = field(default_factory=dict)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def setting(self, name: str, service: str = "api") -> str:
        """A variable of a service's environment."""
        return self.services[service].environment[name]

    def local(self, text: str, service: str) -> str:
        """A value of the file as it is on this machine."""
        for name, port in PORTS.items():
            here = f"127.0.0.1:{self.ports[name]}"
            text = text.replace(f"//{name}:{port}", f"//{here}").replace(f"@{name}/", f"@{here}/")
        text = text.replace("0.0.0.0", "127.0.0.1").replace("/srv/", f"{self.home / service}/srv/")  # noqa: S104
        if service in PORTS:
            text = re.sub(rf"(?<!\d){PORTS[service]}(?!\d)", str(self.ports[service]), text)
        return text

    def service(self, name: str) -> Service:
        """The service as the file has it, in a folder of its own that holds what the image would."""
        written = self.compose["services"][name]
        workdir = self.home / name / "srv" / "tallyhouse"
        workdir.mkdir(parents=True)
        for mount in written.get("volumes", []):
            self._mount(name, *mount.split(":"))
        for folder in ("state", "dagster"):
            (workdir.parent / folder).mkdir(exist_ok=True)
        shutil.copytree(ROOT / "dagster_home", workdir / "dagster_home")
        workspace = workdir / "dagster_home" / "grown" / "workspace.yaml"
        code = workspace.read_text().replace("host: code", "host: 127.0.0.1")
        workspace.write_text(code.replace(f"port: {PORTS['code']}", f"port: {self.ports['code']}"))
        # Nothing of this machine's environment but where programs are: what a service needs is in the file.
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(workdir)}
        environment |= {variable: self.local(value, name) for variable, value in written["environment"].items()}
        command = [self.local(word, name) for word in written.get("command", [])]
        health = [self.local(word, name) for word in written.get("healthcheck", {}).get("test", [])]
        if health:
            health = ["/bin/sh", "-c", health[1]] if health[0] == "CMD-SHELL" else health[1:]
        log = self.home / f"{name}.log"
        made = Service(name, command, environment, workdir, log, health, written["restart"] == "unless-stopped")
        self.services[name] = made
        return made

    def _mount(self, service: str, volume: str, path: str) -> None:
        """A folder that outlives the service, and that those share which name it."""
        shared = self.home / "volumes" / volume
        shared.mkdir(parents=True, exist_ok=True)
        if path.startswith("/srv/"):
            Path(self.local(path, service)).symlink_to(shared)

    def wait_for_needs(self, name: str) -> None:
        """Returns once what a service depends on is as the file wants it."""
        for needed, how in self.compose["services"][name].get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                self.services[needed].wait_until_healthy()
            else:
                process = self.services[needed].process
                assert process is not None
                assert process.wait(timeout=SECONDS) == 0, self.services[needed].log.read_text()[-3000:]

    def in_order(self) -> Sequence[str]:
        """Each service after those that it depends on."""
        found: list[str] = []
        left = {name: set(one.get("depends_on", {})) for name, one in self.compose["services"].items()}
        while left:
            ready = [name for name, needs in left.items() if needs <= set(found)]
            assert ready, f"these wait for each other: {sorted(left)}"
            found += ready
            for name in ready:
                del left[name]
        return found


@contextmanager
def running_services(home: Path, variables: Mapping[str, str]) -> Iterator[ComposeServices]:
    """`docker compose up`, and down at the end of the block. Raises NoPostgres where that cannot be run here."""
    home.mkdir()
    with ExitStack() as stack:
        ports = {name: free_port() for name in PORTS}
        admin = stack.enter_context(running_postgres())
        ports["postgres"] = int(admin.rpartition(":")[2].partition("/")[0])
        services = ComposeServices(read_compose(variables), home, ports)
        for name in services.in_order():
            one = services.service(name)
            stack.callback(one.stop)
            if name == "postgres":
                _prepare_postgres(admin, services)
                one.environment |= {"PGHOST": "127.0.0.1", "PGPORT": str(ports[name])}
                continue
            if name == "clickhouse":
                one.command = _warehouse(one, ports[name])
            services.wait_for_needs(name)
            one.start()
        for one in services.services.values():
            if one.health:
                wait_until(one.is_healthy, SECONDS, 1)
        yield services


def _warehouse(service: Service, port: int) -> list[str]:
    """The embedded engine with the account that the image would make."""
    service.environment["TALLY_WAREHOUSE_PASSWORD"] = service.environment["CLICKHOUSE_PASSWORD"]
    user, path = service.environment["CLICKHOUSE_USER"], str(service.workdir / "data")
    engine = [sys.executable, "-m", "warehouse_sql.embedded"]
    return [*engine, "--path", path, "--port", str(port), "--user", user]


def _prepare_postgres(admin: str, services: ComposeServices) -> None:
    """What the image does at its first start: the account with its password, its database, and the scripts. From then
    on nobody of that name comes in without the password."""
    environment = services.services["postgres"].environment
    user, name = sql.Identifier(environment["POSTGRES_USER"]), sql.Identifier(environment["POSTGRES_DB"])
    with psycopg.connect(admin, autocommit=True) as connection:
        password = sql.Literal(environment["POSTGRES_PASSWORD"])
        connection.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(user, password))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, user))
        row = connection.execute("SHOW hba_file").fetchone()
        assert row is not None
        rules = Path(row[0])
        rules.write_text(f"host all {environment['POSTGRES_USER']} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        connection.execute("SELECT pg_reload_conf()")
    account = f"{environment['POSTGRES_USER']}:{environment['POSTGRES_PASSWORD']}"
    address = f"postgresql://{account}@127.0.0.1:{services.ports['postgres']}/{environment['POSTGRES_DB']}"
    with psycopg.connect(address, autocommit=True) as connection:
        for config in services.compose["services"]["postgres"]["configs"]:
            connection.execute(services.compose["configs"][config["source"]]["content"])
