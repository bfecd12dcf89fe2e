"""The version of the code that prices invoices, which every invoice records (M3)."""

from importlib.metadata import version

__all__ = ["CODE_VERSION"]

CODE_VERSION = version("tallyhouse")
