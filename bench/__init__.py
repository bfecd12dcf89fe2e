"""Benchmarks behind `tally bench`; they report ratios measured in one run, and no test depends on a speed."""
