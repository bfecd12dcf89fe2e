"""The sandbox talks to this machine only: what it sends cannot leave it."""

from urllib.parse import urlsplit

HOSTS = ("127.0.0.1", "localhost", "::1")


def is_loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and parts.hostname in HOSTS and (parts.port or 80) > 0
    except ValueError:
        return False


def is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
