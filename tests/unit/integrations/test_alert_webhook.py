"""What a receiver of alerts is told to do recognizes our messages, and nothing else."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integrations.alert_webhook import signature

PAGE = Path(__file__).parents[3] / "docs" / "alerts.md"
BODY, AT = b'{"id":"msg_1"}', 1765612860


@pytest.fixture(scope="module")
def is_ours() -> Callable[..., bool]:
    """The function of the docs, as it stands there."""
    (snippet,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)  # noqa: S102 - our own page
    found: Callable[..., bool] = names["is_from_tallyhouse"]
    return found


@pytest.mark.parametrize("secret", ["new", "old"])
def test_a_message_is_recognized_by_each_of_its_secrets(is_ours: Callable[..., bool], secret: str) -> None:
    assert is_ours(BODY, signature(BODY, ["new", "old"], AT), secret, now=AT + 60)


@pytest.mark.parametrize(
    ("body", "header", "secret", "now"),
    [
        (BODY + b" ", signature(BODY, ["new"], AT), "new", AT),
        (BODY, signature(BODY, ["new"], AT), "other", AT),
        (BODY, signature(BODY, ["new"], AT), "new", AT + 301),
        (BODY, signature(BODY, ["new"], AT).replace(str(AT), str(AT + 301)), "new", AT + 301),
        (BODY, "v1=abc", "new", AT),
        (BODY, "", "new", AT),
    ],
    ids=["another body", "another secret", "old", "a new date on an old message", "no date", "no header"],
)
def test_anything_else_is_refused(
    is_ours: Callable[..., bool], body: bytes, header: str, secret: str, now: int
) -> None:
    assert not is_ours(body, header, secret, now=now)
