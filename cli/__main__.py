"""`python -m cli` is `tally`."""

from cli.main import app

app(prog_name="tally")
