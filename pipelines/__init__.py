"""Moves usage along: steps in plain Python, and the Dagster assets that call them."""
