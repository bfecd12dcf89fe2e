"""Finds a port for a service: the usual one, or a free one when that is taken."""

import socket

__all__ = ["USUAL_PORTS", "choose_port"]

USUAL_PORTS = {"api": 8080, "dagster": 3000, "sandbox": 8420, "warehouse": 8123, "code": 4266}
"""What people expect to type into a browser; anything else is printed by `tally up`."""


def choose_port(preferred: int, taken: set[int]) -> int:
    """Return `preferred` if it can be bound on 127.0.0.1 and is not in `taken`, else a free port.

    SO_REUSEADDR is set as the servers set it, so that a port in TIME_WAIT after a restart counts as free.
    """
    if preferred not in taken and _can_bind(preferred):
        return preferred
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
