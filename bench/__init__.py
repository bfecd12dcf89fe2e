"""Benchmarks behind `tally bench`; they print ratios measured in one run and are never part of the tests."""
