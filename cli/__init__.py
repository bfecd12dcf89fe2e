"""The `tally` command: one file per command, calling the same code as the API and the pipelines."""
