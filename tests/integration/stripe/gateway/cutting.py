"""A gateway that dies at one call: before it leaves, or after it had its effect and before anybody hears of it."""

from collections.abc import Callable
from typing import Any, cast

from billing.ports import PaymentGateway


class Cut(Exception):
    pass


class CuttingGateway:
    """Passes calls on and counts them over all gateways that it is put around; dies at call number `at`."""

    def __init__(self, at: int, when: str) -> None:
        self.at = at
        self.when = when
        self.calls: list[str] = []

    def around(self, inner: PaymentGateway) -> PaymentGateway:
        return cast("PaymentGateway", _Around(self, inner))


class _Around:
    def __init__(self, cut: CuttingGateway, inner: PaymentGateway) -> None:
        self._cut = cut
        self._inner = inner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = cast("Callable[..., Any]", getattr(self._inner, name))
        if name == "check_amount":
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self._cut.calls.append(name)
            here = len(self._cut.calls) == self._cut.at
            if here and self._cut.when == "before":
                raise Cut(name)
            answer = method(*args, **kwargs)
            if here:
                raise Cut(name)
            return answer

        return call
