"""The HTTP API: parses, calls one function, shapes the answer. Rules and state live in the packages below it."""
