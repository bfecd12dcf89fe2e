"""The relational truth: who bought what, what was billed, what was paid. See README.md."""
