"""`tally up`, `tally status`, `tally down`: the whole of Tallyhouse on this machine."""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.console import fail, out, print_json, say
from cli.stack.home import Home
from cli.stack.state import StackState, is_alive, read_state
from cli.stack.supervisor import AlreadyRunning, StackFailed, Supervisor, lock_is_held, stop_leftovers
from settings import load_settings

__all__ = ["down", "start_detached", "status", "stop_stack", "up"]

_DETACHED_LIMIT_SECONDS = 180.0

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]


def up(
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when everything answers; `tally down` ends it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start warehouse, API, Dagster and the Stripe sandbox; one Ctrl-C stops all."""
    home = Home(load_settings().home)
    running = read_state(home.state_file) if lock_is_held(home) else None
    if running is not None:
        running = _await_ready(home, running)
        _show(running.public, as_json, "already running:")
        return
    if detach:
        try:
            public = start_detached(home)
        except StackFailed as failure:
            fail(str(failure), hint=f"Logs are in {home.logs}")
        _show(public, as_json, "up:")
        return

    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())

    def ready(public: dict[str, str]) -> None:
        _show(public, as_json, "up (Ctrl-C stops all):")

    try:
        Supervisor(home, load_settings(), say, follow_logs=sys.stderr.isatty()).run(stop, ready)
    except AlreadyRunning:
        fail("another `tally up` is starting on this home", hint="`tally status` shows it; `tally down` stops it.")
    except StackFailed as failure:
        fail(str(failure), hint=f"Logs are in {home.logs}")
    except OSError as error:
        fail(f"{home.root}: {error.strerror}", hint="Set TALLY_HOME to a folder that can be written.")


def status(as_json: JsonOption = False) -> None:
    """Say what runs and where. Exit code 0 when all of it runs, 1 otherwise."""
    home = Home(load_settings().home)
    state = read_state(home.state_file) if lock_is_held(home) else None
    if state is None:
        if as_json:
            print_json({"running": False})
        else:
            out.print(f"nothing runs on {home.root} (start it with `tally up`)")
        raise typer.Exit(1)
    services: dict[str, dict[str, Any]] = {
        name: {"url": s.url, "pid": s.pid, "running": is_alive(s.pid), "restarts": s.restarts}
        for name, s in state.services.items()
    }
    all_run = state.ready and all(s["running"] for s in services.values())
    if as_json:
        print_json({"running": all_run, **state.public, "services": services})
    else:
        for name, service in services.items():
            word = "running" if service["running"] else "DOWN"
            restarts = f", restarted {service['restarts']} times" if service["restarts"] else ""
            out.print(f"{name:>10}  {word}  {service['url']} (pid {service['pid']}{restarts})")
        out.print(f"      logs  {home.logs}")
    raise typer.Exit(0 if all_run else 1)


def down(as_json: JsonOption = False) -> None:
    """Stop what `tally up` started on this home; the data stays."""
    home = Home(load_settings().home)
    stopped = stop_stack(home)
    if as_json:
        print_json({"stopped": stopped})
    else:
        out.print("stopped" if stopped else f"nothing runs on {home.root}")


def start_detached(home: Home, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Start a supervisor of its own session and wait until everything answers; returns the public addresses.

    Raises StackFailed with the reason.
    """
    home.prepare()
    stop_leftovers(home)
    home.state_file.unlink(missing_ok=True)
    log = home.logs / "supervisor.log"
    # Spawned rather than held as a Popen: it outlives this process on purpose.
    supervisor = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "cli", "up"],
        {**os.environ, **(environment or {}), "TALLY_HOME": str(home.root)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    deadline = time.monotonic() + _DETACHED_LIMIT_SECONDS
    while time.monotonic() < deadline:
        state = read_state(home.state_file)
        if state is not None and state.ready:
            return state.public
        if os.waitpid(supervisor, os.WNOHANG) != (0, 0):
            raise StackFailed(log.read_text(errors="replace")[-3000:])
        time.sleep(0.05)
    os.kill(supervisor, signal.SIGTERM)
    raise StackFailed(f"the stack did not answer within {_DETACHED_LIMIT_SECONDS:.0f} s")


def stop_stack(home: Home) -> bool:
    """End the supervisor and with it all services; returns whether anything ran."""
    state = read_state(home.state_file)
    if not lock_is_held(home):
        return bool(stop_leftovers(home))
    if state is None:
        return False
    os.kill(state.supervisor_pid, signal.SIGTERM)
    deadline = time.monotonic() + 40
    while lock_is_held(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    if lock_is_held(home):
        os.kill(state.supervisor_pid, signal.SIGKILL)
        stop_leftovers(home)
    return True


def _await_ready(home: Home, state: StackState) -> StackState:
    deadline = time.monotonic() + _DETACHED_LIMIT_SECONDS
    while not state.ready and lock_is_held(home) and time.monotonic() < deadline:
        time.sleep(0.1)
        state = read_state(home.state_file) or state
    return state


def _show(public: Mapping[str, str], as_json: bool, title: str) -> None:
    if as_json:
        print_json(dict(public))
        return
    out.print(title)
    labels = {
        "api": ("API", "/docs"),
        "dagster": ("Dagster", ""),
        "sandbox": ("Stripe sandbox", ""),
        "warehouse": ("warehouse", ""),
    }
    for key, (label, path) in labels.items():
        if public.get(key):
            out.print(f"  {label:<15} {public[key]}{path}")
    out.print(f"  {'tenant':<15} {public['tenant_id']} / {public['environment_id']}")
    out.print(f"  {'API key':<15} {public['api_key']}")
