"""Starts the services in the order of their needs, keeps them running, and ends them all at once.

A service that dies is started again on the same port (its callers retry; an acknowledged event survives by promise E1);
one that keeps dying ends the whole stack with the last lines of its log.
"""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cli.stack import bootstrap
from cli.stack.home import Home, LocalSecrets
from cli.stack.ports import USUAL_PORTS, choose_port
from cli.stack.services import Addresses, Service, environment, local_services, write_dagster_home
from cli.stack.state import ServiceState, StackState, is_alive, read_state, stop_group
from settings import Settings

__all__ = ["AlreadyRunning", "StackFailed", "Supervisor", "lock_is_held", "stop_leftovers"]

_START_LIMIT_SECONDS = 150.0
_RESTARTS_PER_MINUTE = 5


class AlreadyRunning(Exception):
    """Another supervisor holds this home."""


class StackFailed(Exception):
    """A part did not start or kept dying; the message holds the end of its log."""


@contextmanager
def _held(lock_file: Path) -> Iterator[None]:
    with lock_file.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            raise AlreadyRunning(str(lock_file)) from taken
        yield


def lock_is_held(home: Home) -> bool:
    """Whether a supervisor runs on this home."""
    if not home.lock_file.exists():
        return False
    try:
        with _held(home.lock_file):
            return False
    except AlreadyRunning:
        return True


def stop_leftovers(home: Home) -> list[str]:
    """End the services of a supervisor that was killed; returns their names."""
    state = read_state(home.state_file)
    if state is None:
        return []
    left = [name for name, service in state.services.items() if is_alive(service.pid) and _is_ours(service)]
    for name in left:
        stop_group(state.services[name].pid)
    home.state_file.unlink(missing_ok=True)
    return left


def _is_ours(service: ServiceState) -> bool:
    """Guard against a reused process id: only a Python of this environment is one of our services."""
    try:
        command = Path(f"/proc/{service.pid}/cmdline").read_bytes()
    except OSError:
        return sys.platform != "linux"
    return str(Path(sys.executable).parent).encode() in command


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    started: list[float]
    ready: bool = False
    read_to: int = 0


class Supervisor:
    """One run of a local stack. `say(service, line)` receives what a person should see."""

    def __init__(self, home: Home, settings: Settings, say: Callable[[str, str], None], follow_logs: bool) -> None:
        self._home = home
        self._settings = settings
        self._say = say
        self._follow_logs = follow_logs
        self._running: dict[str, _Running] = {}
        self._reached: set[str] = set()
        self._state = StackState(supervisor_pid=os.getpid())

    def run(self, stop: threading.Event, on_ready: Callable[[dict[str, str]], None]) -> None:
        """Start all, call `on_ready` with the public addresses, then watch until `stop` is set.

        Raises AlreadyRunning, or StackFailed after everything was stopped again.
        """
        self._home.prepare()
        with _held(self._home.lock_file):
            for name in stop_leftovers(self._home):
                self._say("tally", f"ended {name}, left over from a stack that was killed")
            try:
                self._start(stop)
                if not stop.is_set():
                    self._state.ready = True
                    self._save()
                    on_ready(self._state.public)
                while not stop.wait(0.2):
                    self._watch()
            except StackFailed as failure:
                self._state.failure = str(failure)
                self._save()
                raise
            finally:
                self._stop_all()

    def _start(self, stop: threading.Event) -> None:
        secrets = self._home.secrets()
        addresses = self._addresses()
        write_dagster_home(self._home)
        self._environment = environment(self._settings, self._home, secrets, addresses)
        with ThreadPoolExecutor(max_workers=3) as pool:
            tasks = {
                "ledger": pool.submit(self._prepare_ledger, secrets),
                "dagster storage": pool.submit(self._prepare_dagster_storage),
            }
            if not addresses.own_warehouse:
                tasks["tables"] = pool.submit(self._prepare_warehouse)
            waiting = local_services(self._settings, self._home, addresses)
            deadline = time.monotonic() + _START_LIMIT_SECONDS
            while waiting or tasks or not all(r.ready for r in self._running.values()):
                if stop.is_set():
                    return
                for service in [s for s in waiting if set(s.after) <= self._reached]:
                    waiting.remove(service)
                    self._launch(service)
                for running in list(self._running.values()):
                    if self._has_come_up(running) and running.service.name == "warehouse":
                        tasks["tables"] = pool.submit(self._prepare_warehouse)
                self._collect(tasks)
                if time.monotonic() > deadline:
                    raise self._late()
                self._echo_logs()
                time.sleep(0.05)
        self._state.public |= {
            "api": addresses.api,
            "dagster": addresses.dagster,
            "sandbox": addresses.sandbox,
            "warehouse": addresses.warehouse,
        }

    def _addresses(self) -> Addresses:
        given = self._settings.model_fields_set
        taken: set[int] = set()
        ports = {}
        for name, usual in USUAL_PORTS.items():
            ports[name] = choose_port(usual, taken)
            taken.add(ports[name])
            if ports[name] != usual:
                self._say("tally", f"port {usual} is taken, {name} uses {ports[name]}")
        return Addresses(
            api=f"http://127.0.0.1:{ports['api']}",
            dagster=f"http://127.0.0.1:{ports['dagster']}",
            sandbox=f"http://127.0.0.1:{ports['sandbox']}" if "stripe_api_base" not in given else "",
            warehouse=(
                self._settings.warehouse_url if "warehouse_url" in given else f"http://127.0.0.1:{ports['warehouse']}"
            ),
            code_port=ports["code"],
            own_warehouse="warehouse_url" not in given,
            own_sandbox="stripe_api_base" not in given,
        )

    def _prepare_ledger(self, secrets: LocalSecrets) -> None:
        url = self._environment["TALLY_LEDGER_URL"]
        bootstrap.migrate_ledger(url)
        tenant = bootstrap.development_tenant(url, secrets.api_key, datetime.now(UTC))
        if tenant.api_key != secrets.api_key:
            self._home.keep(replace(secrets, api_key=tenant.api_key))
        self._state.public |= {
            "tenant_id": tenant.tenant_id,
            "environment_id": tenant.environment_id,
            "api_key": tenant.api_key,
        }

    def _prepare_warehouse(self) -> None:
        bootstrap.migrate_warehouse(
            self._environment["TALLY_WAREHOUSE_URL"],
            self._environment["TALLY_WAREHOUSE_USER"],
            self._environment["TALLY_WAREHOUSE_PASSWORD"],
            self._environment["TALLY_WAREHOUSE_DATABASE"],
            self._settings.warehouse_cluster,
        )

    def _prepare_dagster_storage(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.prepare_instance"],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise StackFailed(f"Dagster's storage could not be made:\n{done.stderr[-2000:]}")

    def _launch(self, service: Service, restarts: int = 0) -> None:
        log = self._home.logs / f"{service.name}.log"
        if not restarts and log.exists():
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            process = subprocess.Popen(
                service.command,
                env={**self._environment, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        earlier = self._running.get(service.name)
        self._running[service.name] = _Running(
            service=service,
            process=process,
            started=[*(earlier.started if earlier else []), time.monotonic()],
            ready=bool(earlier),
            read_to=earlier.read_to if earlier else 0,
        )
        self._state.services[service.name] = ServiceState(process.pid, service.url, time.time(), restarts)
        self._save()

    def _has_come_up(self, running: _Running) -> bool:
        """Whether the service has answered for the first time at this look. Raises StackFailed when it has ended."""
        name = running.service.name
        if running.process.poll() is not None:
            raise StackFailed(f"{name} ended while starting (exit {running.process.returncode})\n{self._log_end(name)}")
        if running.ready or not running.service.answers():
            return False
        running.ready = True
        self._say("tally", f"{name} answers {running.service.url}".rstrip())
        return True

    def _collect(self, tasks: dict[str, Future[None]]) -> None:
        for name, task in [(n, t) for n, t in tasks.items() if t.done()]:
            error = task.exception()
            if error is not None:
                raise StackFailed(f"{name}: {error}") from error
            del tasks[name]
            self._reached.add(name)

    def _late(self) -> StackFailed:
        late = [running.service.name for running in self._running.values() if not running.ready]
        told = "\n".join(self._log_end(name) for name in late)
        return StackFailed(f"not ready after {_START_LIMIT_SECONDS:.0f} s: {', '.join(late)}\n{told}".rstrip())

    def _watch(self) -> None:
        for name, running in list(self._running.items()):
            code = running.process.poll()
            if code is None:
                continue
            # Children of a killed parent would keep the port.
            stop_group(running.process.pid, grace_seconds=0)
            recent = [moment for moment in running.started if moment > time.monotonic() - 60]
            if len(recent) > _RESTARTS_PER_MINUTE:
                raise StackFailed(f"{name} keeps ending (exit {code})\n{self._log_end(name)}")
            self._say("tally", f"{name} ended (exit {code}); starting it again")
            self._launch(running.service, restarts=self._state.services[name].restarts + 1)
        self._echo_logs()

    def _echo_logs(self) -> None:
        if not self._follow_logs:
            return
        for name, running in self._running.items():
            try:
                with (self._home.logs / f"{name}.log").open("rb") as log:
                    log.seek(running.read_to)
                    fresh = log.read(1 << 20)
            except FileNotFoundError:
                continue
            whole = fresh.rpartition(b"\n")[0]
            if whole:
                running.read_to += len(whole) + 1
                for line in whole.decode(errors="replace").splitlines():
                    self._say(name, line)

    def _log_end(self, name: str, lines: int = 15) -> str:
        log = self._home.logs / f"{name}.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _save(self) -> None:
        self._state.save(self._home.state_file)

    def _stop_all(self) -> None:
        # Writers before what they write to: the API and Dagster first, the warehouse last.
        order = ["daemon", "dagster", "code", "api", "sandbox", "warehouse"]
        first = [n for n in order[:-2] if n in self._running]
        last = [n for n in order[-2:] if n in self._running]
        for names in (first, last):
            with ThreadPoolExecutor(max_workers=4) as pool:
                list(pool.map(lambda n: stop_group(self._running[n].process.pid), names))
        for running in self._running.values():
            running.process.poll()
        if self._state.failure is None:
            self._home.state_file.unlink(missing_ok=True)
