"""Dagster's code server, webserver and daemon as processes, with the configuration that the repo ships."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_dagster(home: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The webserver's address; the services may still be starting. All of them end with the block."""
    code_port, web_port = free_port(), free_port()
    home.mkdir()
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / "dagster_home" / name, home)
    env = {**os.environ, **environment, "DAGSTER_HOME": str(home), "TALLY_CODE_PORT": str(code_port)}
    subprocess.run([sys.executable, "-m", "pipelines.prepare_instance"], env=env, cwd=ROOT, check=True, timeout=120)
    workspace = ["-w", str(home / "workspace.yaml"), "--log-level", "warning"]
    commands = [
        [sys.executable, "-m", "pipelines.code_server", "-p", str(code_port), "--log-level", "warning"],
        [str(BIN / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(web_port), *workspace],
        [sys.executable, "-m", "pipelines.daemon", *workspace],
    ]
    with ExitStack() as stack:
        log = stack.enter_context((home / "services.log").open("wb"))
        for command in commands:
            process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)
            stack.callback(_end, process)
        yield f"http://127.0.0.1:{web_port}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=20)
