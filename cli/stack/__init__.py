"""Runs the whole of Tallyhouse on one machine: processes, ports, local state and a development tenant."""
