"""`python -m warehouse_sql.embedded --path DIR --port N --user U`: serves one data directory on the loopback interface.

The password comes from the environment (TALLY_WAREHOUSE_PASSWORD). Prints `ready http://127.0.0.1:PORT` on stdout when
/ping answers, and nothing else. SIGTERM and SIGINT answer what runs, close the engine, and end with status 0.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import sys
from pathlib import Path

from warehouse_sql.embedded.credentials import Credentials


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m warehouse_sql.embedded",
        description="Serves one data directory as a ClickHouse server would, over HTTP.",
        epilog="The password comes from the environment: TALLY_WAREHOUSE_PASSWORD.",
    )
    parser.add_argument("--path", type=Path, required=True, help="the data directory; made where there is none")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--user", default="tallyhouse")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--allow-remote", action="store_true", help="permit a --host that other machines can reach")
    parser.add_argument("--concurrent-queries", type=int, default=16, help="more than this wait for their turn")
    parser.add_argument("--body-limit", type=int, default=4 << 30, help="bytes of one request's body, unpacked")
    parser.add_argument("--drain-seconds", type=float, default=30.0, help="how long running requests may take to end")
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    options = parser.parse_args(argv)
    if not ipaddress.ip_address(options.host).is_loopback and not options.allow_remote:
        parser.error(
            f"--host {options.host} can be reached from other machines, and this server speaks plain HTTP; "
            "add --allow-remote where a proxy or a private network protects it"
        )
    return options


def main() -> int:
    """Entry point; the status for the shell."""
    given = arguments()
    logging.basicConfig(
        level=given.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Taken out of the environment, where the engine's own functions could read it.
    password = os.environ.pop("TALLY_WAREHOUSE_PASSWORD", "")
    if not password:
        print("Set TALLY_WAREHOUSE_PASSWORD: the warehouse takes no empty password.", file=sys.stderr)
        return 2
    # The engine reads its own time zone when it is loaded: UTC wherever it runs. It brings all other zones along.
    os.environ["TZ"] = "UTC"
    from warehouse_sql.embedded.serve import Options, serve  # noqa: PLC0415 -- loads the engine, see above

    options = Options(
        given.path,
        given.host,
        given.port,
        given.concurrent_queries,
        given.body_limit,
        given.drain_seconds,
    )
    return serve(options, Credentials(given.user, password))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # The engine's background threads have nothing left to do, and waiting for idle connections would take minutes.
    os._exit(code)
