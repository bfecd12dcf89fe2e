"""One file per resource: its routes, each a declaration under twenty lines."""
