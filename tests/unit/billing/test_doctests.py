"""The worked examples in billing's docstrings are run, so that none of them can go stale."""

import doctest
import importlib
import pkgutil

import pytest

import billing

MODULES = [module.name for module in pkgutil.walk_packages(billing.__path__, "billing.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_rules_with_edges_carry_an_example() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in ("billing.rating", "billing.money", "billing.period", "billing.tiers", "billing.proration"):
        assert any(found.examples for found in finder.find(importlib.import_module(name))), name
